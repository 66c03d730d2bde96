"""What the tests of the process runtime share: a runtime that ends what it started, and scripts."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.ports import Launch
from orchestrator.runtimes.process.runtime import ProcessRuntime
from orchestrator.runtimes.process.table import read_process, read_table

PATH = "/usr/bin:/bin"
GRACE_S = 5.0


@asynccontextmanager
async def opened(
    state_dir: Path, identity: str = "", **environment: str
) -> AsyncIterator[ProcessRuntime]:
    """Ends everything of this identity afterwards, so that a failed test leaves nothing."""
    mine = identity or f"tests in {state_dir}"
    runtime = ProcessRuntime(state_dir, mine, {"PATH": PATH, **environment})
    try:
        yield runtime
    finally:
        for found in await runtime.discover():
            await runtime.stop(found.running.handle, grace_s=0)
        await runtime.close()


def shell(script: str, instance: str = "a-1", **changes: Any) -> Launch:
    return program("/bin/sh", "-c", script, instance=instance, **changes)


def program(*argv: str, instance: str = "a-1", **changes: Any) -> Launch:
    return Launch(
        instance=InstanceId(instance),
        model=ModelName(changes.pop("model", "a")),
        service=ServiceName("test"),
        argv=argv,
        **changes,
    )


def runs(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and not process.ended


def zombies() -> list[int]:
    return [p.pid for p in read_table().values() if p.parent == os.getpid() and p.ended]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
