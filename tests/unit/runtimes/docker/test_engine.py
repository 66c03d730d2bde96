"""The engine's answers as values, and its absence as one kind of error."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Unreachable
from orchestrator.runtimes.docker.engine import Deadlines, DockerEngine
from tests.unit.runtimes.scripted_engine import scripted_engine


def test_an_engine_that_is_not_there_is_unreachable_with_its_address_and_the_kernels_words() -> (
    None
):
    async def ask() -> None:
        engine = DockerEngine("unix:///nowhere/docker.sock")
        with pytest.raises(
            Unreachable,
            match=r"/nowhere/docker\.sock cannot be reached: .*No such file or directory",
        ):
            await engine.inspect("x")
        engine.close()

    asyncio.run(ask())


def test_a_closed_engine_is_asked_nothing_any_more() -> None:
    with scripted_engine() as scripted:
        engine = DockerEngine(scripted.url)
        engine.close()
        with pytest.raises(Unreachable, match="asked nothing any more"):
            engine.open_events({})


@pytest.fixture
def mute(tmp_path: Path) -> Iterator[str]:
    """A socket that lets everybody in and never says a word."""
    path = str(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        yield f"unix://{path}"


def test_an_engine_that_hangs_costs_the_deadline(mute: str) -> None:
    async def ask() -> float:
        engine = DockerEngine(mute, Deadlines(call_s=0.2, create_s=0.2, start_s=0.2, remove_s=0.2))
        begun_s = time.monotonic()
        with pytest.raises(Unreachable, match=r"has not answered for 0\.2 s"):
            await engine.inspect("x")
        waited_s = time.monotonic() - begun_s
        engine.close()
        return waited_s

    assert asyncio.run(ask()) < 0.8
