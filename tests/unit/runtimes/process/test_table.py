import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.runtimes.process import table
from orchestrator.runtimes.process.table import (
    EXEC_S_MAX,
    PidHandle,
    Process,
    ProcessTree,
    ancestors,
    boot_id,
    marked,
    out_of_memory_kills,
    pid_handles,
    read_process,
    read_table,
    seniority,
    wait_until_ended,
)
from tests.asynchronous import run
from tests.unit.runtimes.processes import descriptors

NOBODY = 2**22 + 1  # above the largest pid there can be


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "1000"], env={"MARK": "yes", "OTHER": "1=2"}) as child:
        yield child
        child.kill()


def process(pid, parent):
    return Process(
        pid=pid, started=0, parent=parent, group=pid, session=pid, kernel=False, ended=False
    )


def test_we_are_in_the_table():
    own = read_table()[os.getpid()]
    assert own == read_process(os.getpid())
    assert own.parent == os.getppid()
    assert own.session == os.getsid(0)
    assert own.group == os.getpgid(0)
    assert not own.ended


def test_a_process_that_is_not_there_is_none():
    assert read_process(NOBODY) is None


def test_a_name_with_brackets_and_spaces_is_read(tmp_path):
    odd = tmp_path / "a) Z (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "1000"]) as child:
        try:
            assert read_process(child.pid).parent == os.getpid()
        finally:
            child.kill()


def test_a_zombie_has_ended():
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert read_process(child.pid).ended


def test_a_process_whose_first_thread_has_ended_still_runs():
    source = (
        "import ctypes, threading, time;"
        "threading.Thread(target=time.sleep, args=(1000,)).start();"
        "print('up', flush=True);"
        "ctypes.CDLL(None).syscall(60, 0)"  # exit, of this thread alone, on x86-64
    )
    with subprocess.Popen(["python3", "-c", source], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            deadline_s = time.monotonic() + 10
            while not _first_thread_gone(child.pid):
                assert time.monotonic() < deadline_s
            assert not read_process(child.pid).ended
        finally:
            child.kill()


def _first_thread_gone(pid):
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


def test_descendants_are_all_generations_and_nobody_else():
    table = {pid: process(pid, parent) for pid, parent in [(2, 1), (3, 2), (4, 3), (5, 1), (6, 9)]}
    assert ProcessTree.of(table).descendants(2) == {3, 4}
    assert ProcessTree.of(table).descendants(4) == frozenset()


def test_the_server_is_told_from_what_came_from_it():
    server = replace(process(900, 1), started=5)
    child = replace(process(3, 900), session=900, started=5)  # pids began anew in one tick
    orphan = replace(process(4, 1), started=6)
    assert min([child, orphan, server], key=seniority) == server
    assert min([replace(process(1000, 1), started=7), orphan], key=seniority) == orphan


def test_attached_are_descendants_and_members_of_the_session():
    table = {pid: process(pid, parent) for pid, parent in [(2, 1), (3, 2), (5, 1), (6, 1)]}
    table[5] = replace(table[5], session=2)
    assert ProcessTree.of(table).attached(2) == {2, 3, 5}


def test_marks_are_what_the_program_was_given(sleeper):
    table = read_table()
    assert marked(table, ("MARK", "OTHER"))[sleeper.pid] == ("yes", "1=2")
    assert sleeper.pid not in marked(table, ("MARK", "MISSING"))
    assert marked({NOBODY: process(NOBODY, 1)}, ("MARK",)) == {}


def test_marks_are_seen_while_a_program_becomes_another_one():
    """It has no environment in that moment, and must not be taken for a stranger."""
    source = 'exec sh -c "$0" "$0"'
    with subprocess.Popen(["/bin/sh", "-c", source, source], env={"MARK": "yes"}) as child:
        try:
            for _ in range(300):
                assert marked({child.pid: read_process(child.pid)}, ("MARK",)) == {
                    child.pid: ("yes",)
                }
        finally:
            child.kill()


def becoming(monkeypatch, *pids):
    """These become other programs, and never get there."""
    environments = table._environments
    monkeypatch.setattr(
        table,
        "_environments",
        lambda asked: {**environments(asked), **{pid: b"" for pid in pids if pid in set(asked)}},
    )
    monkeypatch.setattr(table, "_given_nothing", lambda pid: False)
    monkeypatch.setattr(table, "EXEC_S_MAX", 0.05)


@pytest.mark.parametrize(
    ("parent", "waits"),
    [
        ("reaper", True),  # an orphan, maybe of the server
        ("ours", True),
        ("becoming", True),  # ours, as far as anybody can tell
        ("gone", True),
        ("older", False),  # cannot be the server's, and adopts none of its own
        ("stranger", False),
    ],
)
def test_a_program_that_cannot_be_ours_is_not_waited_for(monkeypatch, sleeper, parent, waits):
    with (
        subprocess.Popen(["sleep", "1000"], env={"WHO": "a stranger"}) as stranger,
        subprocess.Popen(["sleep", "1000"], env={}) as becomes,
    ):
        try:
            parents = {
                "reaper": 1,
                "ours": sleeper.pid,
                "becoming": NOBODY - 1,
                "gone": NOBODY,
                "older": 2,
                "stranger": stranger.pid,
            }
            seen = {
                1: process(1, 0),
                2: process(2, 1),
                sleeper.pid: replace(process(sleeper.pid, 3), started=5),
                stranger.pid: replace(process(stranger.pid, 3), started=5),
                becomes.pid: replace(process(becomes.pid, parents[parent]), started=6),
            }
            if parent == "becoming":
                seen[NOBODY - 1] = replace(process(NOBODY - 1, 1), started=5)
            becoming(monkeypatch, becomes.pid, *([NOBODY - 1] if parent == "becoming" else []))
            begun_s = time.monotonic()
            assert set(marked(seen, ("MARK",), since=5, reapers={1})) == {sleeper.pid}
            assert (time.monotonic() - begun_s >= table.EXEC_S_MAX) == waits
        finally:
            stranger.kill()
            becomes.kill()


def test_what_started_before_the_server_cannot_carry_its_marks(sleeper):
    there = {sleeper.pid: replace(process(sleeper.pid, 1), started=5)}
    assert set(marked(there, ("MARK",), since=5)) == {sleeper.pid}
    assert marked(there, ("MARK",), since=6) == {}


def test_ancestors_are_all_up_to_the_first_process():
    there = {pid: process(pid, parent) for pid, parent in [(1, 0), (2, 1), (3, 2), (4, 2)]}
    assert ancestors(there, 3) == {3, 2, 1}
    assert ancestors(there, 99) == frozenset()


def test_a_program_that_was_given_nothing_is_not_waited_for():
    with subprocess.Popen(["sleep", "1000"], env={}) as child:
        try:
            begun_s = time.monotonic()
            for _ in range(10):
                assert marked({child.pid: read_process(child.pid)}, ("MARK",)) == {}
            assert time.monotonic() - begun_s < EXEC_S_MAX
        finally:
            child.kill()


def test_a_program_that_ended_meanwhile_is_not_waited_for(sleeper):
    running = read_process(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    begun_s = time.monotonic()
    assert marked({sleeper.pid: running}, ("MARK",)) == {}
    assert time.monotonic() - begun_s < EXEC_S_MAX


def test_the_kernels_own_threads_are_not_listed():
    kthreadd = read_process(2)
    if kthreadd is not None and kthreadd.kernel:  # not in a container
        assert 2 not in read_table()
    assert not read_process(os.getpid()).kernel


def test_a_pid_handle_signals_and_reaps(sleeper):
    pid_handle = PidHandle.take(sleeper.pid, read_process(sleeper.pid).started)
    assert not pid_handle.ended
    assert pid_handle.reap() is None
    pid_handle.send(signal.SIGTERM)
    assert run(wait_until_ended([pid_handle], 10))
    assert pid_handle.ended
    assert pid_handle.reap() == -signal.SIGTERM
    pid_handle.send(signal.SIGTERM)
    assert pid_handle.reap() is None
    pid_handle.close()


def test_a_pid_handle_on_another_start_of_the_pid_is_not_given(sleeper):
    before = descriptors()
    assert PidHandle.take(sleeper.pid, read_process(sleeper.pid).started - 1) is None
    assert PidHandle.take(NOBODY, 0) is None
    assert descriptors() == before


def test_pid_handles_are_closed_whatever_happens(sleeper):
    before = descriptors()
    with suppress(KeyError), pid_handles([read_process(sleeper.pid), process(NOBODY, 1)]) as held:
        assert [pid_handle.pid for pid_handle in held] == [sleeper.pid]
        raise KeyError
    assert descriptors() == before


def test_waiting_ends_with_the_timeout(sleeper):
    async def scenario():
        with pid_handles([read_process(sleeper.pid)]) as held:
            assert not await wait_until_ended(held, 0.01)
            threading.Timer(0.05, sleeper.kill).start()
            assert await wait_until_ended(held, 10)
            assert await wait_until_ended([], 0)

    run(scenario())


def test_the_kernel_tells_this_boot_and_its_kills():
    assert boot_id() == boot_id() != ""
    assert out_of_memory_kills() >= 0
