"""The engine's answers as values, and its absence as one kind of error."""

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Unreachable
from orchestrator.runtimes.docker.engine import (
    Container,
    ContainerEvent,
    Deadlines,
    DockerEngine,
    DockerEvents,
    _container,
)
from tests.unit.runtimes.scripted_engine import scripted_engine


def test_an_inspection_becomes_a_value() -> None:
    seen = {
        "Id": "abc",
        "Name": "/vram-qwen-1",
        "State": {
            "Running": False,
            "ExitCode": 137,
            "OOMKilled": True,
            "Pid": 0,
            "StartedAt": "2026-01-01T00:00:00Z",
        },
        "Config": {"Labels": None, "ExposedPorts": {"8080/tcp": {}, "53/udp": {}}},
        "HostConfig": {
            "DeviceRequests": [
                {"DeviceIDs": ["GPU-1"]},
                {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-2"]},
                {"DeviceIDs": None},
            ]
        },
        "NetworkSettings": {
            "Ports": {"9090/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}]},
            "Networks": {"bridge": {"IPAddress": "172.17.0.2"}, "idle": {"IPAddress": ""}},
        },
    }
    assert _container(seen) == Container(
        id="abc",
        name="vram-qwen-1",
        labels={},
        running=False,
        exit_code=137,
        out_of_memory=True,
        pid=None,
        started_at="2026-01-01T00:00:00Z",
        gpus=frozenset({"GPU-1", "GPU-2"}),
        ports={8080: None, 9090: 49153},
        addresses={"bridge": "172.17.0.2"},
    )


def test_events_become_values() -> None:
    died = {
        "Action": "die",
        "Actor": {"ID": "abc", "Attributes": {"name": "x", "exitCode": "3"}},
    }
    gone = {"Action": "destroy", "Actor": {"ID": "abc", "Attributes": {}}}
    assert list(DockerEvents([died, gone])) == [
        ContainerEvent("abc", "x", "die", 3),
        ContainerEvent("abc", "", "destroy", None),
    ]


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
