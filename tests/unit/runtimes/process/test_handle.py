from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.errors import Unreachable
from orchestrator.runtimes.process.handle import HANDLE_VERSION, ServerRef

SERVER = ServerRef(
    instance=InstanceId("a-1"),
    model=ModelName("a"),
    pid=7,
    started=9,
    boot="b",
    port=8081,
    log=Path("/logs/a@a-1.log"),
)
HANDLE = SERVER.running.handle


def test_a_handle_says_all_that_is_needed():
    assert ServerRef.of(HANDLE) == SERVER
    assert SERVER.running.endpoint.url == "http://127.0.0.1:8081"


@pytest.mark.parametrize(
    "change",
    [
        {"version": HANDLE_VERSION + 1},
        {"runtime": "docker"},
        {"fields": {"pid": 7}},
        {"fields": {**HANDLE.fields, "pid": "seven"}},
    ],
)
def test_a_handle_that_is_not_understood_finds_nothing(change):
    with pytest.raises(Unreachable):
        ServerRef.of(replace(HANDLE, **change))
