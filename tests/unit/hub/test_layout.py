import threading
from pathlib import Path

import pytest

from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.layout import RepoCache, locked, path_in_repository, projector_beside
from orchestrator.hub.progress import Patience

COMMIT = "b" * 40


def shelf(home: Path) -> RepoCache:
    made = RepoCache(home, "org/Repo")
    (made.folder / "blobs").mkdir(parents=True)
    made.blob("d1").write_bytes(b"one")
    return made


def test_a_link_is_relative_so_that_the_cache_can_be_mounted_elsewhere(tmp_path: Path) -> None:
    shelf(tmp_path / "here").link(COMMIT, "sub/model.gguf", "d1")
    (tmp_path / "here").rename(tmp_path / "there")
    moved = RepoCache(tmp_path / "there", "org/Repo").file(COMMIT, "sub/model.gguf")
    assert moved.read_bytes() == b"one"


def test_a_link_replaces_what_was_there(tmp_path: Path) -> None:
    made = shelf(tmp_path)
    made.blob("d2").write_bytes(b"two")
    made.link(COMMIT, "model.gguf", "d1")
    assert made.link(COMMIT, "model.gguf", "d2").read_bytes() == b"two"
    assert [path.name for path in made.file(COMMIT, "model.gguf").parent.iterdir()] == [
        "model.gguf"
    ]


def test_only_names_with_bytes_are_there(tmp_path: Path) -> None:
    made = shelf(tmp_path)
    made.link(COMMIT, "whole.gguf", "d1")
    made.link(COMMIT, "hollow.gguf", "d9")
    assert made.names(COMMIT) == ("whole.gguf",)
    assert made.names("c" * 40) == ()


def test_a_revision_is_remembered_by_its_commit(tmp_path: Path) -> None:
    made = shelf(tmp_path)
    assert made.commit_of("main") is None
    made.remember("refs/pr/1", COMMIT)
    made.remember(COMMIT, COMMIT)
    assert made.commit_of("refs/pr/1") == COMMIT
    assert made.commit_of(COMMIT) == COMMIT
    assert not (made.folder / "refs" / COMMIT).exists()


def test_a_note_that_is_no_commit_is_no_commit(tmp_path: Path) -> None:
    made = shelf(tmp_path)
    made.remember("main", "../../elsewhere")
    assert made.commit_of("main") is None


def test_a_projector_lies_beside_the_model_or_above_its_folder(tmp_path: Path) -> None:
    made = shelf(tmp_path)
    model = made.link(COMMIT, "Q4/model-00001-of-00002.gguf", "d1")
    assert projector_beside(model) is None
    projector = made.link(COMMIT, "mmproj-F16.gguf", "d1")
    assert projector_beside(model) == projector
    made.link(COMMIT, "mmproj-BF16.gguf", "d1")
    assert projector_beside(model) is None


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    lock, order, held = tmp_path / "x.lock", [], threading.Event()
    second = threading.Event()

    def hold() -> None:
        with locked(lock, lambda: 0, lambda: None, Patience()):
            held.set()
            second.wait(10)
            order.append("first")

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(10)
    slept = Patience(sleep=lambda _: holder.join() if second.is_set() else None)
    with locked(lock, lambda: 0, second.set, slept):
        order.append("second")
    assert order == ["first", "second"]


def test_a_lock_is_waited_for_while_its_holder_writes(tmp_path: Path) -> None:
    lock, waits = tmp_path / "x.lock", []
    sizes = iter([0, 1, 2, 3, 4, *[4] * 50])
    bounded = Patience(lock_idle_s=5, sleep=waits.append)
    with (
        locked(lock, lambda: 0, lambda: None, bounded),
        pytest.raises(PullFailed) as caught,
        locked(lock, lambda: next(sizes), lambda: None, bounded),
    ):
        pass
    assert caught.value.cause is Cause.LOCKED
    assert len(waits) == 4 + 5


def test_a_file_of_the_cache_is_called_as_its_repository_has_it(tmp_path: Path) -> None:
    file = shelf(tmp_path).file(COMMIT, "Q8_0/a.gguf")
    assert path_in_repository(file) == "Q8_0/a.gguf"
    assert path_in_repository(tmp_path / "a.gguf") is None
