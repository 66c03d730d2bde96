"""The engine's JSON as values, and what to make of JSON that is none of its."""

import json

import pytest

from orchestrator.runtimes.docker.answers import (
    EVENT_BYTES_MAX,
    Container,
    ContainerEvent,
    EngineRefused,
    container_in,
    events_in,
    nanoseconds,
    pull_line,
    understood,
)

DIED = {"Action": "die", "Actor": {"ID": "abc", "Attributes": {"name": "x", "exitCode": "3"}}}
GONE = {"Action": "destroy", "Actor": {"ID": "abc", "Attributes": {}}}
VALUES = [ContainerEvent("abc", "x", "die", 3), ContainerEvent("abc", "", "destroy", None)]


def line(event: object) -> bytes:
    return json.dumps(event).encode() + b"\n"


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
    assert container_in(seen) == Container(
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
    assert list(events_in([line(DIED) + line(GONE)])) == VALUES


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_events_may_be_cut_anywhere(cut: int) -> None:
    said = line(DIED) + b"\x1e" + line(GONE)
    assert list(events_in(said[at : at + cut] for at in range(0, len(said), cut))) == VALUES


@pytest.mark.parametrize(
    "odd",
    [
        b"not JSON\n",
        b"{\n",
        b"[]\n",
        b"null\n",
        b"\xff\xfe\n",
        b"\n",
        line({"Action": "die"}),
        line({"Action": "die", "Actor": {"ID": "abc", "Attributes": {"exitCode": "many"}}}),
        line({"Action": "die", "Actor": None}),
        b"x" * (EVENT_BYTES_MAX + 1) + b"\n",
    ],
    ids=range(10),
)
def test_a_line_that_makes_no_sense_does_not_end_the_listening(odd: bytes) -> None:
    assert list(events_in([line(DIED), odd, line(GONE)])) == VALUES


def test_an_answer_of_another_shape_is_a_refusal() -> None:
    refused = pytest.raises(EngineRefused, match="an inspection that makes no sense")
    with refused, understood("an inspection"):
        container_in({"Id": "abc"})


def test_an_error_in_the_middle_of_a_pull_is_a_refusal() -> None:
    with pytest.raises(EngineRefused, match="denied"):
        pull_line({"error": "denied"})


@pytest.mark.parametrize(
    ("instant", "counted"),
    [
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:01:00Z", 60_000_000_000),
    ],
)
def test_instants_keep_their_nanoseconds(instant: str, counted: int) -> None:
    assert nanoseconds(instant) == counted
