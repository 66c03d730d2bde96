import errno
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.layout import projector_beside
from orchestrator.hub.progress import Phase, Progress
from orchestrator.hub.pulling import RESERVE_BYTES, cached
from tests.standins.hub import COMMIT
from tests.unit.hub.pulls import BYTES, MODEL, REPO, Pulls, pulls


def test_a_model_lies_where_every_program_with_that_cache_looks(operator: Pulls) -> None:
    path = operator.pull()
    folder = operator.home / "hub" / "models--org--Small-GGUF"
    assert path == folder / "snapshots" / COMMIT / MODEL
    assert path.read_bytes() == BYTES
    assert str(path.readlink()) == f"../../blobs/{operator.hub.digest(MODEL)}"
    assert (folder / "refs" / "main").read_text() == COMMIT
    assert operator.blobs() == {operator.hub.digest(MODEL): len(BYTES)}


def test_a_second_pull_asks_for_no_bytes(operator: Pulls) -> None:
    first = operator.pull()
    operator.hub.asked.clear()
    assert operator.pull() == first
    assert operator.hub.bodies() == []


def test_progress_ends_with_everything_done(operator: Pulls) -> None:
    operator.pull()
    last = operator.told[-1]
    assert (last.phase, last.done_bytes, last.total_bytes) == (Phase.DONE, len(BYTES), len(BYTES))
    counted = [each.done_bytes for each in operator.told]
    assert counted == sorted(counted)


def test_parts_and_projector_come_with_a_split_model(tmp_path: Path) -> None:
    files = {
        f"Q4_K_M/big-Q4_K_M-0000{part}-of-00003.gguf": b"GGUF" + bytes([part]) * 1000
        for part in (1, 2, 3)
    }
    extra = {"mmproj-F16.gguf": b"GGUF eye", "mmproj-F32.gguf": b"GGUF big eye", "README.md": b"hi"}
    with pulls(tmp_path, {**files, **extra}) as operator:
        path = operator.pull(f"{REPO}:Q4_K_M")
        assert path.name == "big-Q4_K_M-00001-of-00003.gguf"
        assert {each.name for each in path.parent.iterdir()} == {Path(name).name for name in files}
        projector = projector_beside(path)
        assert projector is not None
        assert projector.read_bytes() == b"GGUF eye"
        assert str(path.readlink()).startswith("../../../blobs/")
        assert len(operator.blobs()) == 4


def test_a_name_of_ours_stands_for_its_repository(tmp_path: Path) -> None:
    with pulls(tmp_path) as operator, pytest.raises(PullFailed) as caught:
        operator.pull("phi-4")
    assert caught.value.cause is Cause.NOT_FOUND
    assert "unsloth/phi-4-GGUF" in caught.value.detail


def test_a_renamed_repository_is_followed(operator: Pulls) -> None:
    operator.hub.renamed_from = "old/Name-GGUF"
    path = operator.pull("old/Name-GGUF")
    assert path.read_bytes() == BYTES


def test_no_room_is_said_before_the_first_byte(operator: Pulls) -> None:
    with pytest.raises(PullFailed) as caught:
        operator.pull(free=RESERVE_BYTES + len(BYTES) - 1)
    assert caught.value.cause is Cause.DISK_FULL
    assert "HF_HOME" in caught.value.remedy
    assert operator.hub.bodies() == []
    assert operator.blobs() == {}


def test_what_is_here_already_needs_no_room(operator: Pulls) -> None:
    operator.leave(BYTES[:200_000])
    assert operator.pull(free=RESERVE_BYTES + len(BYTES) - 200_000).read_bytes() == BYTES
    assert operator.pull(free=0).read_bytes() == BYTES


def test_a_disk_that_fills_meanwhile_keeps_what_arrived(operator: Pulls) -> None:
    def full(progress: Progress) -> None:
        if progress.done_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(PullFailed) as caught:
        operator.pull(watch=full)
    assert caught.value.cause is Cause.DISK_FULL
    assert 0 < operator.blobs()[f"{operator.hub.digest(MODEL)}.incomplete"] < len(BYTES)
    assert operator.pull().read_bytes() == BYTES


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    home = tmp_path / "hf"
    home.write_text("a file")
    with pulls(home) as operator, pytest.raises(PullFailed) as caught:
        operator.pull()
    assert caught.value.cause is Cause.UNWRITABLE
    assert str(home) in caught.value.detail


class Cancelled(Exception):
    pass


def test_a_cancelled_pull_leaves_no_model_and_the_next_one_goes_on(operator: Pulls) -> None:
    def cancel(progress: Progress) -> None:
        if progress.done_bytes > 100_000:
            raise Cancelled

    with pytest.raises(Cancelled):
        operator.pull(watch=cancel)
    assert list(operator.blobs()) == [f"{operator.hub.digest(MODEL)}.incomplete"]
    assert cached(REPO, home=operator.home) is None
    operator.hub.asked.clear()
    assert operator.pull().read_bytes() == BYTES
    assert int(operator.hub.bodies()[-1].headers["Range"].strip("bytes=-")) > 100_000


def test_a_pause_can_be_cancelled(operator: Pulls) -> None:
    operator.hub.behaviour.busy = ["60"]

    def cancel(progress: Progress) -> None:
        if progress.phase is Phase.PAUSED:
            raise Cancelled

    with pytest.raises(Cancelled):
        operator.pull(watch=cancel)
    assert operator.slept == []


def test_without_a_network_what_was_pulled_is_used(operator: Pulls) -> None:
    path = operator.pull()
    operator.hub.close()
    assert operator.pull() == path
    assert operator.told[-1].phase is Phase.OFFLINE


def test_without_a_network_and_without_a_model_it_says_so(operator: Pulls) -> None:
    operator.hub.close()
    with pytest.raises(PullFailed) as caught:
        operator.pull()
    assert caught.value.cause is Cause.NO_NETWORK
    assert "HF_ENDPOINT" in caught.value.remedy
    assert sum(operator.slept) == 1 + 2 + 4 + 8


def test_cached_asks_nobody(operator: Pulls) -> None:
    assert cached(REPO, home=operator.home) is None
    path = operator.pull()
    operator.hub.asked.clear()
    assert cached(REPO, home=operator.home) == path
    assert cached(f"{REPO}@{COMMIT}:{MODEL}", home=operator.home) == path
    assert cached(f"{REPO}:Q8_0", home=operator.home) is None
    assert operator.hub.asked == []


def test_a_model_whose_blob_is_gone_is_not_here(operator: Pulls) -> None:
    path = operator.pull()
    path.resolve().unlink()
    assert cached(REPO, home=operator.home) is None
    assert operator.pull().read_bytes() == BYTES


def test_two_pulls_at_once_bring_the_bytes_once(operator: Pulls) -> None:
    operator.hub.behaviour.stall_after = 100_000
    patient = replace(operator.patience, read_s=20)
    found: list[Path] = []
    first = threading.Thread(target=lambda: found.append(operator.pull(patience=patient)))
    first.start()
    assert operator.hub.stalled.wait(10)
    waited: list[Progress] = []

    def watch(progress: Progress) -> None:
        if progress.phase is Phase.WAITING:
            waited.append(progress)
            operator.hub.go_on.set()
            first.join()

    found.append(operator.pull(watch=watch))
    assert found[0] == found[1]
    assert waited
    assert len([each for each in operator.hub.bodies() if each.server == "cdn"]) == 1


def test_a_pull_that_hangs_elsewhere_is_not_waited_for_without_end(operator: Pulls) -> None:
    operator.hub.behaviour.stall_after = 100_000
    patient = replace(operator.patience, read_s=20)
    first = threading.Thread(target=lambda: operator.pull(patience=patient))
    first.start()
    try:
        assert operator.hub.stalled.wait(10)
        with pytest.raises(PullFailed) as caught:
            operator.pull()
    finally:
        operator.hub.go_on.set()
        first.join()
    assert caught.value.cause is Cause.LOCKED
