"""Docker under the contract of runtimes: on the engine's bare socket, and through our guard.

Both need an engine that answers; the skip says how to get one.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.ports import Launch, Runtime
from orchestrator.runtimes.docker.create import LABEL_IDENTITY, ContainerSettings
from orchestrator.runtimes.docker.runtime import DockerRuntime
from tests import asynchronous
from tests.contracts import docker_parts as parts
from tests.contracts.runtime_cases import RuntimeCase

STRANGER = f"stranger-{parts.RUN}"


@contextmanager
def bare_case(_: Path) -> Iterator[RuntimeCase]:
    engine = parts.need_engine()
    with _cleaned(engine):
        yield _case(engine, engine)


@contextmanager
def guarded_case(_: Path) -> Iterator[RuntimeCase]:
    engine = parts.need_engine()
    with _cleaned(engine), parts.guard(engine) as guarded:
        yield _case(guarded, engine)


@contextmanager
def _cleaned(engine: str) -> Iterator[None]:
    parts.import_image(engine)
    try:
        yield
    finally:
        for identity in (parts.GUARD_IDENTITY, STRANGER):
            parts.remove_all(engine, f"{LABEL_IDENTITY}={identity}")


def _case(url: str, engine: str) -> RuntimeCase:
    return RuntimeCase(
        open=_opened(url, parts.GUARD_IDENTITY),
        open_stranger=_opened(engine, STRANGER),
        run=asynchronous.run,
        for_ever=_launch(),
        ends_with_code_3=_launch("--lines", "1", "--exit", "3"),
        ignores_sigterm=_launch("--ignore-sigterm", "--lines", "1"),
        writes=lambda lines: _launch("--lines", str(lines)),
        hopeless=_launch(image="no-such-image"),
    )


def _opened(url: str, identity: str) -> Callable[[], Any]:
    @asynccontextmanager
    async def open_one() -> AsyncIterator[Runtime]:
        runtime = DockerRuntime(
            url, ContainerSettings(identity=identity, version="0.1.0"), doors=parts.doors()
        )
        try:
            yield runtime
        finally:
            await runtime.close()

    return open_one


def _launch(*argv: str, image: str = parts.IMAGE) -> Launch:
    return Launch(
        instance=InstanceId("a-1"),
        model=ModelName("a"),
        service=ServiceName("test"),
        argv=("/sleeper", *argv),
        image=image,
    )


DOCKER_CASES = [
    pytest.param(bare_case, id="docker", marks=pytest.mark.docker),
    pytest.param(guarded_case, id="docker_guard", marks=[pytest.mark.docker, pytest.mark.nginx]),
]
