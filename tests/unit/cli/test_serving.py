"""The word `serve`: what it is told before a daemon is begun."""

import pytest

from orchestrator.cli import serving
from orchestrator.cli.main import main, parser
from orchestrator.config.loading import OWN_CONFIG, Overrides


@pytest.fixture
def begun(monkeypatch):
    """What daemons were told that were begun, and are not."""
    told = []

    def serve(*words, verbose):
        told.append((*words, "verbose") if verbose else words)

    monkeypatch.setattr("orchestrator.daemon.serve.serve", serve)
    return told


def test_folders_are_named_in_either_way(tmp_path, begun):
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir()
    b.mkdir()
    assert main(["serve", str(a), "--models-dir", str(b), "--port", "0"]) == 0
    assert begun == [(OWN_CONFIG, Overrides(port=0, folders=(a, b)))]
    file = tmp_path / "o.yaml"
    assert main(["serve", str(a), "--config", str(file)]) == 0
    assert begun[1] == (file, Overrides(folders=(a,)))


def test_a_folder_that_is_not_there_is_said_before_anything_begins(tmp_path, begun, capsys):
    gone = tmp_path / "gone"
    assert main(["serve", str(gone)]) == 2
    assert capsys.readouterr().err == f"There is no folder {gone}.\n"
    assert not begun


def test_its_steps_are_logged_where_that_is_wanted(begun):
    assert main(["serve", "--verbose"]) == 0
    assert begun[0][-1] == "verbose"


def test_health_is_told_where_that_is_wanted(begun):
    assert main(["serve", "--health-port", "8001"]) == 0
    ((_, told),) = begun
    assert told == Overrides(health_port=8001)


def test_a_port_is_a_port():
    with pytest.raises(SystemExit):
        parser().parse_args(["serve", "--port", "70000"])
    assert parser().parse_args(["serve"]).run is serving.run
