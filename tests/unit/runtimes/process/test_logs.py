import os
import resource

import pytest

from orchestrator.runtimes.process.logs import (
    LINE_CHARS_MAX,
    LOG_BYTES_MAX,
    LOGS_PER_MODEL_MAX,
    TAIL_BYTES_MAX,
    ServerLogs,
    size,
    tail,
)


@pytest.fixture
def logs(tmp_path):
    return ServerLogs(tmp_path / "logs")


def write(logs, text, model="a", instance="a-1"):
    descriptor = logs.open(model, instance)
    os.write(descriptor, text)
    os.close(descriptor)
    return logs.path(model, instance)


def test_a_log_is_appended_to_and_private(logs):
    write(logs, b"one\n")
    path = write(logs, b"two\n")
    assert tail(path, 10) == ("one", "two")
    assert path.stat().st_mode & 0o077 == 0


def test_names_cannot_leave_the_directory_nor_collide(logs, tmp_path):
    names = ["../../etc/x", "..", ".", "a/b", "a_b", "a@b", "x" * 300, "x" * 301, "ü", "a\nb"]
    paths = {write(logs, b"x", model=name, instance=name) for name in names}
    assert len(paths) == len(names)
    assert {path.parent for path in paths} == {tmp_path / "logs"}
    assert len(list((tmp_path / "logs").iterdir())) == len(names)


def test_a_link_in_the_place_of_a_log_is_not_followed(logs, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    write(logs, b"")
    logs.path("a", "a-2").symlink_to(victim)
    with pytest.raises(OSError):
        logs.open("a", "a-2")
    assert victim.read_text() == "precious"


def test_only_the_last_lives_of_a_model_are_kept(logs):
    other = write(logs, b"other\n", model="a-b", instance="0")
    for life in range(LOGS_PER_MODEL_MAX + 3):
        path = write(logs, b"x\n", instance=str(life))
        os.utime(path, ns=(life, life))
    logs.path("a", "4").with_name("a@4.log.123").write_bytes(b"aside")
    newest = write(logs, b"x\n", instance="newest")
    assert other.exists()
    kept = sorted(path.name for path in newest.parent.glob("a@*"))
    assert kept == ["a@4.log", "a@4.log.123", "a@5.log", "a@6.log", "a@7.log", "a@newest.log"]


def test_the_tail_of_no_file_is_empty(logs):
    assert tail(logs.path("a", "never"), 5) == ()
    assert size(logs.path("a", "never")) == 0


def test_the_tail_is_bounded_and_tolerant(logs):
    path = write(logs, b"x" * 2 * TAIL_BYTES_MAX + b"\n\xff\xfe\x00broken\nlast without end")
    assert tail(path, 2) == ("\ufffd\ufffd\x00broken", "last without end")
    assert len(tail(path, 100)[0]) == LINE_CHARS_MAX
    assert tail(path, 0) == tail(path, -1) == ()


def test_a_log_is_cut_when_it_is_too_large(logs):
    small = write(logs, b"small\n", instance="small")
    path = logs.path("a", "a-1")
    descriptor = logs.open("a", "a-1")
    total = 0
    try:
        for generation in range(3):
            start = total
            while total - start <= LOG_BYTES_MAX:
                total += os.write(descriptor, b"%09d %s\n" % (total, b"." * 9990))
            last = total - 10_001
            assert logs.trim() == 1
            assert path.stat().st_size == 0
            assert size(path) == total, f"generation {generation}"
            assert tail(path, 1)[0].startswith(f"{last:09d}")
        total += os.write(descriptor, b"after\n")
        assert [line[:9] for line in tail(path, 2)] == [f"{last:09d}", "after"]
        assert size(path) == total
        assert logs.trim() == 0
        aside = list(path.parent.glob(f"{path.name}.*"))
        assert len(aside) == 1
        assert aside[0].stat().st_size <= LOG_BYTES_MAX
        assert tail(small, 1) == ("small",)
    finally:
        os.close(descriptor)


def test_a_full_disk_is_freed_though_lines_are_lost(logs):
    path = write(logs, b"x" * (LOG_BYTES_MAX + 1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LOG_BYTES_MAX // 2, limits[1]))
    try:
        assert logs.trim() == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.stat().st_size == 0
    assert size(path) == LOG_BYTES_MAX + 1


def test_trimming_where_nothing_was_logged_yet_is_nothing(tmp_path):
    assert ServerLogs(tmp_path / "none").trim() == 0
