"""Engines of other packages: what is believed of them, and what is said of those that are broken."""

import sys

import pytest

from orchestrator.config.brought import GROUP, brought
from orchestrator.config.engines import KINDS, kind_of, kinds, those_with
from orchestrator.config.loading import config_schema, load_config
from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.config.services import service_mistakes
from orchestrator.core.values.failures import FailureReason
from orchestrator.errors import ConfigInvalid

GOOD = 'KIND = EngineKind(name="{name}", about="", maker="m:f", runtimes=("process",){more})'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package whose module has this text and whose entry points lead to its KIND."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def install(name, text, package=None):
        package = package or name
        module = f"{package}_of_a_test"
        heading = "from orchestrator.config.engine_kind import EngineKind\n"
        (tmp_path / f"{module}.py").write_text(heading + text)
        made.append(module)
        about = tmp_path / f"{package}-2.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.0\n")
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module}:KIND\n")
        brought.cache_clear()

    yield install
    brought.cache_clear()
    for module in made:
        sys.modules.pop(module, None)


def test_one_that_is_right_is_like_ours(package, tmp_path):
    package("mine", GOOD.format(name="mine", more=', service_keys=frozenset({"health"})'))
    assert kind_of(ServiceEntry(engine="mine")).runtimes == (RuntimeName.PROCESS,)
    assert list(service_mistakes(ServiceEntry(engine="mine", health="/up"))) == []
    [wrong] = service_mistakes(ServiceEntry(engine="mine", binary="x"))
    assert "only for engine llama_cpp" in wrong.sentence
    assert those_with("health") == "engines command, container and mine"
    schema = config_schema()["$defs"]["ServiceEntry"]["properties"]["engine"]["enum"]
    assert schema == [*KINDS, "mine"]


def test_none_takes_the_name_of_ours(package):
    package("fake", GOOD.format(name="fake", more=""))
    assert kinds() == KINDS
    assert kind_of(ServiceEntry(engine="fake")) is KINDS["fake"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
        ("raise SystemExit('not today')", "SystemExit: not today"),
        ("KIND = 7", "is no EngineKind"),
        (GOOD.format(name="other", more=""), "declares the name other"),
        (GOOD.format(name="mine", more=", reads_files=7"), "reads_files: "),
        (GOOD.format(name="mine", more="").replace('"process",', '"moon",'), "runtimes.0: "),
        (GOOD.format(name="mine", more="").replace('"process",', ""), "no runtime"),
        (GOOD.format(name="mine", more=', model_keys=frozenset({"a"})'), "not a"),
        (GOOD.format(name="mine", more=', needs=frozenset({"env"})'), "needs env"),
    ],
)
def test_one_that_cannot_be_used_says_why_and_fails_its_models_alone(
    package, tmp_path, text, words
):
    package("mine", text)
    problem = kind_of(ServiceEntry(engine="mine")).problem
    assert problem.startswith("engine mine of mine 2.0 cannot be used: ")
    assert words in problem
    file = tmp_path / "o.yaml"
    file.write_text(
        "services: {a: {engine: mine, binary: x}, b: {engine: fake}}\n"
        "models: {m: {service: a, file: x.gguf}, n: {service: b, vram_mb: 1}}\n"
    )
    found = load_config(file, environ={}, lenient=True).catalogue
    assert found["m"].failed.reason is FailureReason.CONFIGURATION
    assert words in found["m"].failed.detail
    assert found["n"].failed is None
    with pytest.raises(ConfigInvalid) as strict:
        load_config(file, environ={})
    [said] = strict.value.mistakes
    assert f"services.a.engine: {problem}" in said


def test_two_of_one_name_are_none(package):
    package("mine", GOOD.format(name="mine", more=""), package="one")
    package("mine", GOOD.format(name="mine", more=""), package="two")
    assert "several packages" in kind_of(ServiceEntry(engine="mine")).problem
