"""What runs where no file is named."""

from pathlib import Path

from orchestrator.config.embedded import DEMONSTRATION, chosen, embedded, installed
from orchestrator.config.loading import DEFAULT_CONFIG, OWN_CONFIG, load_config


def test_the_demonstration_runs_where_it_can_and_nothing_else_is_asked_for():
    assert embedded((), lambda _: True) == DEFAULT_CONFIG
    assert embedded((Path("/m"),), lambda _: True) == OWN_CONFIG
    for missing in DEMONSTRATION:
        assert embedded((), lambda package, gone=missing: package != gone) == OWN_CONFIG
    assert installed("pytest")
    assert not installed("no_such_package")


def test_the_other_one_looks_for_models_and_keeps_its_state_where_users_do():
    config = load_config(OWN_CONFIG, environ={"HOME": "/home/me"})
    assert str(config.state_dir) == "/home/me/.local/state/vram-orchestrator"
    assert config.discovery.hugging_face
    assert config.discovery.ollama
    assert (config.home, dict(config.models)) == ("llama-server", {})
    wheel = load_config(
        OWN_CONFIG, environ={"XDG_STATE_HOME": "/s"}, able=lambda entry: entry.engine == "xllamacpp"
    )
    assert (wheel.home, str(wheel.state_dir)) == ("wheel", "/s/vram-orchestrator")


def test_a_file_is_named_by_the_command_line_or_by_the_environment():
    environ = {"ORCHESTRATOR_CONFIG": "/etc/o.yaml"}
    assert chosen(Path("mine.yaml"), environ=environ) == Path("mine.yaml")
    assert chosen(None, environ=environ) == Path("/etc/o.yaml")
    assert chosen(None, [Path("models")], environ) == Path("/etc/o.yaml")
    assert chosen(None, [Path("models")], {}) == embedded([Path("models")])
