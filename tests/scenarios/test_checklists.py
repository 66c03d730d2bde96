"""A checklist of CONTRIBUTING.md, done word by word: a toy engine, in a copy of the sources."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import walks
from tests.pace import crowd
from tests.wheels import ROOT, sources

FILES_MAX = 4  # that are written by hand; `make references` writes the rest
NAME = "toy"
COMMAND_S = 120.0

# What else looks at every engine, or at every module.
KNOWING_ALL_ENGINES = (
    "tests/contracts/test_engines.py::test_every_engine_is_under_contract",
    "tests/test_tidy.py::test_module_is_tidy",
    "tests/test_tidy.py::test_module_has_its_test_file",
    "tests/test_tidy.py::test_a_class_name_means_one_thing",
    "tests/unit/config/test_engines.py",
    "tests/unit/config/test_services.py",
    "tests/unit/daemon/test_wiring.py",
    "tests/unit/engines/test_toy.py",
)

# As a package of its own brings it; what the table says of ours, the package declares.
EXAMPLE = (ROOT / "examples" / "engine" / "file_server_engine.py").read_text()
ENGINE = re.sub(
    r"^from orchestrator\.config\..*\n|^KIND = EngineKind\(\n(?:    .*\n)+\)\n\n",
    "",
    EXAMPLE,
    flags=re.MULTILINE,
)
ENTRY = """        EngineKind(
            name="toy",
            about="A toy.",
            maker="orchestrator.engines.toy:make",
            runtimes=(_PROCESS,),
            tells_use=False,
        ),
    )
}
"""
CASE = """    "toy": EngineCase("toy", lambda: spec_of(), talks_as_openai=False, while_it_loads=None),
}
HERE = """
OWN_TEST = '''"""The toy."""

from orchestrator.engines.premises import Premises
from orchestrator.engines.toy import make
from tests.unit.engines.launched import INSTANCE, ON_HOST, spec_of, with_http


def test_it_serves_files():
    async def scene(http):
        assert "http.server" in make(Premises(http=http)).launch(INSTANCE, spec_of(), ON_HOST).argv

    with_http(scene)
'''


@pytest.fixture
def checkout(tmp_path) -> Path:
    copy = tmp_path / "checkout"
    sources(copy, "tests", "docs", "examples", "nginx")
    return copy


def item(name: str) -> tuple[str, str]:
    """A checklist of CONTRIBUTING.md: its words, and the command below."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.search(rf"\*\*{name}\.\*\* (.*?)\n\n```sh\n(.*?)\n```", text, re.DOTALL)
    assert found, f"CONTRIBUTING.md has no checklist {name}"
    return found[1], found[2]


def run(checkout: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},  # noqa: TID251 - as from a shell
        capture_output=True,
        text=True,
        timeout=COMMAND_S * crowd(),
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def replaced(checkout: Path, name: str, before: str, after: str) -> None:
    file = checkout / name
    text = file.read_text()
    assert text.count(before) == 1, f"{name}: {before!r}"
    file.write_text(text.replace(before, after))


def test_an_engine_is_added_by_its_checklist(checkout, record_property):
    walk = walks.Walk("an engine by its checklist", record_property)
    words, command = item("An engine")
    files = {
        "orchestrator/engines/toy.py": ENGINE,
        "tests/unit/engines/test_toy.py": OWN_TEST,
        "orchestrator/config/engines.py": ENTRY,
        "tests/contracts/engine_cases.py": CASE,
    }
    assert len(files) <= FILES_MAX
    for name in files:
        walk.types(name)
    named = re.findall(r"`((?:orchestrator|tests)/[\w/.]+)`", words)
    assert all(name.startswith(tuple(named)) for name in files)
    for name in list(files)[:2]:
        (checkout / name).write_text(files[name])
    replaced(checkout, "orchestrator/config/engines.py", "    )\n}\n", ENTRY)
    replaced(checkout, "tests/contracts/engine_cases.py", "}\nHERE = ", CASE)

    run(checkout, "docs/generate.py")  # make references
    assert "| `toy` | `process` | A toy. |" in (checkout / "docs/reference/config.md").read_text()
    assert '"toy"' in run(checkout, "-m", "orchestrator", "config", "schema")
    make, one, contract = shlex.split(command.replace("NAME", NAME))
    assert (make, one) == ("make", "one")
    pytest_words = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    told = run(checkout, *pytest_words, *shlex.split(contract.removeprefix("T=")))
    assert re.search(r"\d+ passed", told)
    run(checkout, *pytest_words, *KNOWING_ALL_ENGINES)
    walk.ends()
