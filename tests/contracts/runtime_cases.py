"""The implementations of `Runtime` under the contract: each knows how to ask for trouble.

A case makes launches that behave in a known way and opens runtimes on one and the same world, so
that a second one is what a daemon has after a restart. To put another runtime under the contract,
write a function like `process_case` and add it to `CASES`.
"""

import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import FakeBehaviour, ModelName, ServiceName
from orchestrator.core.values.vram import DeviceId
from orchestrator.ports import Launch, Runtime
from orchestrator.runtimes.fake.runtime import FakeWorld
from orchestrator.runtimes.fake.script import Script
from orchestrator.runtimes.process.runtime import ProcessRuntime
from tests import asynchronous
from tests.simulation import virtual_time

LINE = "line {}"  # what `writes` writes, numbered from 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCase:
    open: Callable[[], "_Opened"]  # each call: what a daemon opens when it starts
    open_stranger: Callable[[], "_Opened"]  # another daemon on the same machine
    run: Callable[[Coroutine[Any, Any, None]], None]
    for_ever: Launch
    ends_with_code_3: Launch
    ignores_sigterm: Launch  # from the moment on when its log has a line
    writes: Callable[[int], Launch]  # so many lines, then it stays
    hopeless: Launch  # cannot be started
    sees_pids: bool = True
    knows_code_of_others_children: bool = True  # after a restart


_Opened = Any  # an async context manager that gives a Runtime


def named(launch: Launch, instance: str, model: str | None = None) -> Launch:
    name = launch.model if model is None else ModelName(model)
    return replace(launch, instance=InstanceId(instance), model=name)


@contextmanager
def process_case(tmp_path: Path) -> Iterator[RuntimeCase]:
    def opened(identity: str) -> Callable[[], _Opened]:
        @asynccontextmanager
        async def open_one() -> AsyncIterator[Runtime]:
            runtime = ProcessRuntime(tmp_path, identity, {"PATH": "/usr/bin:/bin"})
            try:
                yield runtime
            finally:
                await runtime.close()

        return open_one

    def shell(script: str) -> Launch:
        return _launch("/bin/sh", "-c", script)

    mine = f"contract of {tmp_path}"
    try:
        yield RuntimeCase(
            open=opened(mine),
            open_stranger=opened(f"stranger to {tmp_path}"),
            run=asynchronous.run,
            for_ever=shell("exec sleep 1000"),
            ends_with_code_3=shell("echo goodbye; exit 3"),
            ignores_sigterm=shell("trap '' TERM; echo armed; while :; do sleep 1000; done"),
            writes=lambda lines: shell(
                f"i=0; while [ $i -lt {lines} ]; do echo line $i; i=$((i+1)); done; sleep 1000"
            ),
            hopeless=_launch(str(tmp_path / "no such program")),
            knows_code_of_others_children=False,
        )
    finally:
        asynchronous.run(_end_all(opened(mine)))


async def _end_all(opened: Callable[[], _Opened]) -> None:
    """A test that fails must not leave processes to the next one."""
    async with opened() as runtime:
        for found in await runtime.discover():
            await runtime.stop(found.running.handle, grace_s=0)


@contextmanager
def fake_case(tmp_path: Path) -> Iterator[RuntimeCase]:
    def opened() -> Callable[[], _Opened]:
        world = FakeWorld({DeviceId("fake-0"): 100}, random.Random(7))

        @asynccontextmanager
        async def open_one() -> AsyncIterator[Runtime]:
            yield world.runtime

        return open_one

    def script(**changes: Any) -> Launch:
        return _launch(*Script(shares=((DeviceId("fake-0"), 1),), **changes).argv())

    yield RuntimeCase(
        open=opened(),
        open_stranger=opened(),
        run=virtual_time.run,
        for_ever=script(),
        ends_with_code_3=script(exits_after_s=0.1, exit_code=3),
        ignores_sigterm=script(behaviour=FakeBehaviour(ignore_sigterm=True), log_lines=1),
        writes=lambda lines: script(log_lines=lines),
        hopeless=_launch("no such program"),
    )


def _launch(*argv: str) -> Launch:
    return Launch(
        instance=InstanceId("a-1"),
        model=ModelName("a"),
        service=ServiceName("test"),
        argv=argv,
    )


CASES = [
    pytest.param(fake_case, id="fake"),
    pytest.param(process_case, id="process"),
]
