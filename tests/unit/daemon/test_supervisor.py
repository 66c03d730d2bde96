import asyncio
import os
import socket
from contextlib import closing

import pytest

from orchestrator.daemon.supervisor import Supervisor
from tests.asynchronous import run


@pytest.fixture(params=["file", "abstract"])
def heard(request, tmp_path):
    """A supervisor's socket: its address, and what was said to it."""
    address = str(tmp_path / "notify") if request.param == "file" else f"@vram-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(address.replace("@", "\0"))
        listener.settimeout(5)
        yield address, lambda: listener.recv(4096).decode()


def test_the_life_of_a_daemon_is_told(heard):
    address, next_said = heard
    supervisor = Supervisor(address)
    supervisor.ready("listening on\nhttp://127.0.0.1:8000")
    assert next_said() == "READY=1\nSTATUS=listening on http://127.0.0.1:8000"
    supervisor.reloading()
    assert next_said().startswith("RELOADING=1\nMONOTONIC_USEC=")
    supervisor.stopping()
    assert next_said() == "STOPPING=1"
    supervisor.stopping(150.0)
    assert next_said() == "STOPPING=1\nEXTEND_TIMEOUT_USEC=150000000"


def test_signs_of_life_end_with_what_is_watched(heard):
    address, next_said = heard

    async def scene():
        async with Supervisor(address, watchdog_s=0.03).watching():
            said = [await asyncio.to_thread(next_said) for _ in range(3)]
        assert said == ["WATCHDOG=1"] * 3
        assert [task.get_name() for task in asyncio.all_tasks()] != ["watchdog"]

    run(scene())


def test_nothing_is_said_where_nobody_listens(tmp_path):
    for supervisor in (Supervisor(), Supervisor(str(tmp_path / "none"))):
        supervisor.ready("x")
        supervisor.stopping()

    async def scene():
        async with Supervisor().watching():
            assert [task.get_name() for task in asyncio.all_tasks()].count("watchdog") == 0

    run(scene())


def test_what_the_supervisor_said_is_taken_out_of_the_environment():
    environ = {
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "60000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    assert Supervisor.taken_from(environ) == Supervisor("/run/notify", 60.0)
    assert environ == {"PATH": "/bin"}
    assert Supervisor.taken_from(environ) == Supervisor()


@pytest.mark.parametrize(
    ("pid", "microseconds", "watched"),
    [(str(os.getpid()), "1000", 0.001), ("1", "1000", None), (None, "soon", None)],
    ids=["ours", "another's", "no number"],
)
def test_the_watchdog_of_another_process_is_not_ours(pid, microseconds, watched):
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": microseconds}
    if pid is not None:
        environ["WATCHDOG_PID"] = pid
    assert Supervisor.taken_from(environ).watchdog_s == watched
