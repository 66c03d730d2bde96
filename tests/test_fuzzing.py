"""The fuzzing targets still fit what they drive, and a broken promise is found and said.

A few hundred inputs, the same in every run; `make fuzz` makes others for as long as one likes.
"""

from itertools import islice
from pathlib import Path

import pytest

from fuzzing.__main__ import FOLDER, blind, main
from fuzzing.gguf_file import MODELS
from fuzzing.mutations import Target, first_finding, mutations
from fuzzing.targets import TARGETS
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.reader import read_header
from orchestrator.gguf.settings import Settings

INPUTS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_promises_hold(name: str) -> None:
    target = TARGETS[name]
    finding = first_finding(target, islice(mutations(target, 0), INPUTS))
    if finding is not None:
        raise AssertionError(
            f"{name} breaks its promise for {finding.content!r}"
        ) from finding.error


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_seeds_of_models_are_models(tmp_path: Path, number: int) -> None:
    """Else their mutations would all be refused at the door."""
    path = tmp_path / "model.gguf"
    path.write_bytes(MODELS[number])
    assert estimate(read_header(path), Settings()).on_devices.weights_bytes > 0


def break_at_nine(content: bytes) -> None:
    assert content[:1] != b"9", "nine"


NINE = Target(break_at_nine, seeds=(b"1",), words=(b"9",))


def test_a_broken_promise_is_found() -> None:
    finding = first_finding(NINE, islice(mutations(NINE, 0), INPUTS))
    assert finding is not None
    assert finding.content.startswith(b"9")
    assert str(finding.error).startswith("nine")


def test_the_same_number_makes_the_same_inputs() -> None:
    target = TARGETS["guard"]
    assert list(islice(mutations(target, 7), 50)) == list(islice(mutations(target, 7), 50))


def test_an_input_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "input"
    kept.write_bytes(b"GET /")
    assert main(["guard", "--replay", str(kept)]) == 0
    assert "breaks nothing" in capsys.readouterr().out


def test_a_finding_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not blind("nine", NINE, seconds=20)
    (kept,) = (tmp_path / FOLDER / "nine").iterdir()
    with pytest.raises(AssertionError):
        NINE.check(kept.read_bytes())


def test_a_budget_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert blind("guard", TARGETS["guard"], seconds=0)
