"""Every command and program that the documents show is executed, and what they show of its output is compared.

What a comment before a fence means is told in tests/documents.py. A document that starts a daemon
gets one of its own; the others share one, on the trial of the quickstart.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config.loading import DEFAULT_CONFIG
from tests import parts
from tests.documents import DOCS, PAGES, ROOT, Block, blocks
from tests.scenarios.daemon import Daemon, running
from tests.scenarios.world import smollm_file
from tests.standins.hub import stand_in_hub

COMMAND_S = 60.0
# What no test executes, with the reason. Everything else that a document shows is executed.
NOT_RUN = {
    "an NVIDIA GPU": "an image with CUDA is built and run, which takes a GPU and an hour",
    "a service of the system, and two versions": "tests/scenarios/test_older_version.py swaps them",
    "a package index": "tests/scenarios/test_wheel.py installs without one",
}
EMBEDDED = "the embedded default"
TRIAL = next(each for each in blocks(DOCS / "quickstart.md") if each.title == "trial.yaml")
# Values in shown JSON that are the same each time. Of others, words with digits in them differ.
SAME = {"model", "service", "status", "code", "evicted", "owner", "fits", "remaining_leases"}
FREE = {"content", "finish_reason"}  # what a model says, and how far it comes with that
EXECUTED = {"sh", "python"}
DIFFERS = re.compile(r"[\w-]*\d[\w-]*")


def commands(page: Path) -> list[Block]:
    return [each for each in blocks(page) if each.language in EXECUTED]


def executed_here(page: Path) -> bool:
    return any(each.word not in ("run by", "not run") for each in commands(page))


SHOWING = [page for page in PAGES if executed_here(page)]


class Reader:
    """Types what a document shows, in a directory of its own."""

    def __init__(self, directory: Path, hub_url: str) -> None:
        self.directory = directory
        self.port = 0
        programs = directory / ".venv" / "bin"
        programs.mkdir(parents=True)
        program = programs / "orchestrator"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
        program.chmod(0o755)
        (directory / "models").mkdir()
        (directory / "models" / "Qwen3-8B-Q4_K_M.gguf").symlink_to(smollm_file())
        self.environment = os.environ | {  # noqa: TID251 - commands run as from a shell
            "PATH": f"{programs}:{os.environ['PATH']}",  # noqa: TID251 - likewise
            "PYTHONPATH": str(ROOT),
            "HOME": str(directory),
            "HF_HOME": str(directory / "hf"),
            "HF_ENDPOINT": hub_url,
        }

    def types(self, block: Block) -> str:
        """What the commands print."""
        text = block.text.replace("localhost:8000", f"127.0.0.1:{self.port}")
        done = subprocess.run(
            [*_program(block), text],
            cwd=self.directory,
            env=self.environment | {"ORCHESTRATOR_URL": f"http://127.0.0.1:{self.port}"},
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        wanted = int(block.argument) if block.word == "exit code" else 0
        assert done.returncode == wanted, f"{block}: {done.stdout}{done.stderr}"
        return done.stdout + (done.stderr if wanted else "")


def _program(block: Block) -> list[str]:
    return (
        [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
    )


def started(directory: Path, settings: dict[str, Any], stack: ExitStack) -> Daemon:
    directory.mkdir()
    return stack.enter_context(running(directory, settings))


@pytest.fixture(scope="module")
def hub_url() -> Iterator[str]:
    parts.require("real_model")
    with smollm_file().open("rb") as file:
        files = {"Qwen3-8B-Q4_K_M.gguf": file.read(1 << 20)}  # as good as all of it, and quicker
    with stand_in_hub("Qwen/Qwen3-8B-GGUF", files) as hub:
        yield hub.url


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Daemon]]:
    """The shared daemon, with nothing loaded."""
    with ExitStack() as stack:
        directory = tmp_path_factory.mktemp("documents") / "trial"
        daemon = started(directory, yaml.safe_load(TRIAL.text), stack)

        def emptied() -> Daemon:
            settled = {"loaded", "stuck"}
            daemon.until(lambda _: settled >= {*daemon.loaded().values()}, "all have come or gone")
            for name in daemon.loaded():
                daemon.unload(name, force=True)
            return daemon

        yield emptied


@pytest.mark.curl
@pytest.mark.parametrize("page", SHOWING, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_do_what_the_document_shows(page, tmp_path, hub_url, trial):
    reader = Reader(tmp_path, hub_url)
    said = ""
    shown = blocks(page)
    files = {each.title: yaml.safe_load(each.text) for each in shown if each.title}
    with ExitStack() as stack:
        if not any(each.word == "starts" for each in shown):
            reader.port = trial().port
        for count, block in enumerate(shown):
            if block.word == "starts":
                settings = files.get(block.argument) or _embedded(block)
                reader.port = started(tmp_path / f"daemon-{count}", settings, stack).port
                assert re.fullmatch(_starting(block.argument), block.text.strip())
            elif block.language in EXECUTED and block.word not in ("run by", "not run"):
                said = reader.types(block)
            elif block.follows and block.word != "for example":
                compare(block, said)


def _embedded(block: Block) -> dict[str, Any]:
    assert block.argument == EMBEDDED, f"{block}: no fence is called {block.argument}"
    return yaml.safe_load(DEFAULT_CONFIG.read_text())


def _starting(what: str) -> str:
    return "make run" if what == EMBEDDED else f"orchestrator serve --config {re.escape(what)}"


def test_make_run_serves_the_embedded_default():
    recipe = (ROOT / "Makefile").read_text().partition("\nrun: $(READY)\n")[2].splitlines()[0]
    assert recipe.strip() == (
        "$(BIN)/orchestrator serve $(MODELS) $(if $(CONFIG),--config $(CONFIG)) --port $(PORT)"
    )


def compare(block: Block, said: str) -> None:
    """What a document shows of an output with what was printed."""
    if block.language == "json":
        alike(json.loads(block.text), last_json(said), str(block))
    elif block.language == "text":
        assert masked(said) == masked(block.text), f"{block}: {said}"


def masked(text: str) -> str:
    return " ".join(DIFFERS.sub("0", text).split())


def last_json(text: str) -> Any:
    """curl puts no line ends between the answers of two calls."""
    found, at = None, 0
    while (at := text.find("{", at)) >= 0:
        found, at = json.JSONDecoder().raw_decode(text, at)
    return found


def alike(shown: Any, got: Any, where: str) -> None:
    """Everything that is shown is there; a document need not show everything."""
    if isinstance(shown, dict):
        assert isinstance(got, dict), where
        for key, value in shown.items():
            assert key in got, f"{where}: there is no {key} in {got}"
            if key in FREE:
                assert isinstance(got[key], type(value)), where
            elif key in SAME and not isinstance(value, dict):
                assert got[key] == value, f"{where}.{key}: it is {got[key]}"
            else:
                alike(value, got[key], f"{where}.{key}")
    elif isinstance(shown, list):
        assert len(shown) <= len(got), where
        for one, other in zip(shown, got, strict=False):
            alike(one, other, where)
    elif isinstance(shown, str):
        assert isinstance(got, str), where
        assert masked(shown) == masked(got), f"{where}: it is {got}"
    elif isinstance(shown, int | float) and not isinstance(shown, bool):
        assert isinstance(got, int | float), where
    else:
        assert got == shown, where


def test_what_is_not_executed_has_a_reason():
    reasons = {each.argument for page in PAGES for each in commands(page) if each.word == "not run"}
    assert reasons == set(NOT_RUN)


def test_what_another_test_executes_names_it():
    for page in PAGES:
        for block in commands(page):
            if block.word == "run by":
                path, _, name = block.argument.partition("::")
                assert f"def {name}(" in (ROOT / path).read_text(), f"{block}: no {block.argument}"


def test_words_before_fences_are_known():
    known = {"", "exit code", "starts", "run by", "not run", "for example"}
    for page in PAGES:
        for block in blocks(page):
            assert block.word in known, f"{block}: {block.word}"
