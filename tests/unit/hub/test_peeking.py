"""What a model will be, told without bringing it."""

from pathlib import Path

import pytest

from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.peeking import BEGINNINGS, peek
from orchestrator.hub.progress import Patience
from tests.standins.hub import COMMIT
from tests.unit.hub.pulls import BYTES, MODEL, REPO, Pulls, pulls

PATIENT = Patience(connect_s=20, read_s=20)  # for many megabytes on a busy machine


def look(
    operator: Pulls, suffices=lambda _path, _known: True, reference: str = REPO, patience=None
):
    return peek(
        reference,
        suffices,
        home=operator.home,
        endpoint=operator.hub.url,
        patience=patience or operator.patience,
        progress=operator.told.append,
    )


def test_the_beginning_is_there_and_the_place_where_it_will_lie(operator: Pulls) -> None:
    with look(operator) as seen:
        (model,) = seen.parts
        assert model.here.read_bytes() == BYTES
        assert model.here.name == MODEL
        assert seen.projector is None
        assert seen.total_bytes == len(BYTES)
    assert not model.here.exists()
    assert model.later == operator.pull()


def test_nothing_comes_into_the_cache(operator: Pulls) -> None:
    with look(operator):
        pass
    assert not (operator.home / "hub").exists()


def test_of_a_large_file_only_the_beginning_is_asked_for(tmp_path: Path) -> None:
    content = bytes(range(256)) * ((BEGINNINGS[0] >> 8) + 4096)
    with pulls(tmp_path, {MODEL: content}) as operator, look(operator) as seen:
        here = seen.parts[0].here
        assert here.stat().st_size == len(content)
        with here.open("rb") as file:
            assert file.read(BEGINNINGS[0]) == content[: BEGINNINGS[0]]
            assert not any(file.read())


def test_more_is_fetched_until_it_suffices(tmp_path: Path) -> None:
    known: list[int] = []

    def suffices(_path: Path, bytes_: int) -> bool:
        known.append(bytes_)
        return len(known) == 2

    content = b"GGUF" + bytes(BEGINNINGS[1] + 10)
    with pulls(tmp_path, {MODEL: content}) as operator, look(operator, suffices):
        assert known == list(BEGINNINGS[:2])


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    content = b"GGUF" + bytes(BEGINNINGS[-1] + 10)
    with (
        pulls(tmp_path, {MODEL: content}) as operator,
        pytest.raises(PullFailed) as caught,
        look(operator, lambda _path, _known: False, patience=PATIENT),
    ):
        pass
    assert caught.value.cause is Cause.BAD_ANSWER
    assert "vram_mb" in caught.value.remedy


def test_parts_and_projector_are_looked_at(tmp_path: Path) -> None:
    files = {f"big-Q4_K_M-0000{part}-of-00002.gguf": bytes([part]) * 100 for part in (1, 2)}
    with (
        pulls(tmp_path, {**files, "mmproj-F16.gguf": b"eye"}) as operator,
        look(operator) as seen,
    ):
        assert [each.here.name for each in seen.parts] == list(files)
        assert seen.projector is not None
        assert seen.projector.here.read_bytes() == b"eye"
        assert seen.parts[0].here.parent == seen.projector.here.parent


def test_a_broken_connection_is_tried_again(operator: Pulls) -> None:
    operator.hub.behaviour.cdn_errors = [503]
    with look(operator) as seen:
        assert seen.parts[0].here.read_bytes() == BYTES


def test_what_the_hub_does_not_have_is_told(operator: Pulls) -> None:
    with pytest.raises(PullFailed) as caught, look(operator, reference=f"{REPO}:no.gguf"):
        pass
    assert caught.value.cause is Cause.NOT_FOUND


def test_the_commit_is_the_one_of_now(operator: Pulls) -> None:
    with look(operator) as seen:
        assert seen.parts[0].later.parent.name == COMMIT
