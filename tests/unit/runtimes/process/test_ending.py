"""A server and all that belongs to it is ended, also what came after the look at it."""

import asyncio
from pathlib import Path

from orchestrator.runtimes.process import ending
from orchestrator.runtimes.process.ending import LOOK_FRESH_S, ServerEnding
from orchestrator.runtimes.process.handle import ServerRef
from tests.asynchronous import eventually, run
from tests.unit.runtimes.processes import GRACE_S, opened, runs, shell

IDENTITY = "test"


def counted(monkeypatch):
    """The looks at all processes, as they begin."""
    looks = []
    look = ServerEnding._look

    def counting(*words):
        looks.append(words)
        return look(*words)

    monkeypatch.setattr(ServerEnding, "_look", counting)
    return looks


def test_a_look_that_was_begun_before_is_the_first_one(tmp_path, monkeypatch):
    looks = counted(monkeypatch)

    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(shell("exec sleep 1000"))).handle
            runtime.foresee_stop(handle)
            await eventually(lambda: looks)
            await runtime.stop(handle, grace_s=GRACE_S)
            assert not runs(ServerRef.of(handle).pid)

    run(scenario())
    assert len(looks) == 2  # the one before, and the one that says that nothing is left


def test_an_old_look_is_not_believed(tmp_path, monkeypatch):
    looks = counted(monkeypatch)

    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(shell("exec sleep 1000"))).handle
            runtime.foresee_stop(handle)
            await asyncio.sleep(2 * LOOK_FRESH_S)
            await runtime.stop(handle, grace_s=GRACE_S)

    run(scenario())
    assert len(looks) == 3


def test_what_came_after_the_look_is_ended_too(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            flag, child = tmp_path / "flag", tmp_path / "child"
            source = (
                f"while [ ! -e {flag} ]; do sleep 0.005; done;"
                f"setsid sleep 1000 & echo $! > {child}.new; mv {child}.new {child}; wait"
            )
            handle = (await runtime.start(shell(source))).handle
            runtime.foresee_stop(handle)
            (_, look) = runtime._ending._looks[ServerRef.of(handle).instance]
            await look
            flag.touch()
            await eventually(child.exists)
            await runtime.stop(handle, grace_s=GRACE_S)
            assert not runs(int(Path(child).read_text()))

    run(scenario())


def test_looks_that_no_stop_followed_are_forgotten(tmp_path):
    async def scenario():
        async with opened(tmp_path) as runtime:
            handles = [(await runtime.start(shell("exec sleep 1000"))).handle for _ in range(2)]
            runtime.foresee_stop(handles[0])
            await asyncio.sleep(2 * LOOK_FRESH_S)
            runtime.foresee_stop(handles[1])
            assert list(runtime._ending._looks) == [ServerRef.of(handles[1]).instance]
            for handle in handles:
                await runtime.stop(handle, grace_s=GRACE_S)

    run(scenario())


def test_a_look_that_fails_is_taken_again_by_the_stop(tmp_path, monkeypatch):
    read, failures = ending.read_table, [OSError("the kernel is busy")]

    def fails_once():
        if failures:
            raise failures.pop()
        return read()

    monkeypatch.setattr(ending, "read_table", fails_once)

    async def scenario():
        async with opened(tmp_path) as runtime:
            handle = (await runtime.start(shell("exec sleep 1000"))).handle
            runtime.foresee_stop(handle)
            await runtime.stop(handle, grace_s=GRACE_S)
            assert not runs(ServerRef.of(handle).pid)

    run(scenario())
    assert not failures
