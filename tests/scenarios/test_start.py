"""What the start of a daemon says, and to whom: a person at a terminal, a supervisor such as systemd."""

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing

from tests.pace import crowd
from tests.scenarios.daemon import PATIENCE_S, ROOT, Daemon, config, model, running

SHOWN_MAX = 1 << 16


def read_terminal(terminal: int, until: Callable[[str], bool]) -> str:
    said, deadline = "", time.monotonic() + PATIENCE_S * crowd()
    while not until(said):
        assert time.monotonic() < deadline, said
        try:
            said += os.read(terminal, SHOWN_MAX).decode()
        except OSError:  # the last of its holders has ended
            break
    return said


def test_a_person_is_told_the_address_and_what_is_next(tmp_path):
    daemon = Daemon(tmp_path, config({"chat": model(1024)}))
    terminal, held = pty.openpty()
    words = ("serve", "--config", str(daemon.file), "--port", str(daemon.port))
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=tmp_path,
        env=daemon.environment | {"PYTHONPATH": str(ROOT)},
        stdout=held,
        stderr=held,
    )
    os.close(held)
    try:
        said = read_terminal(terminal, lambda said: "orchestrator connect" in said)
        assert f"listening on {daemon.url}\r\n" in said
        assert f"export ORCHESTRATOR_URL={daemon.url}\r\n" in said
        assert "  orchestrator run chat " in said
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        os.close(terminal)
        daemon.clean_up()


def test_a_log_is_told_the_address_alone(tmp_path):
    with running(tmp_path, config({"chat": model(1024)})) as daemon:
        assert f"listening on {daemon.url}\n" in daemon.log()
        assert "ORCHESTRATOR_URL" not in daemon.log()


def test_a_supervisor_hears_when_it_serves_and_when_it_ends(tmp_path):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(PATIENCE_S)
        daemon = Daemon(tmp_path, config({"chat": model(1024)}, on_shutdown="stop"))
        daemon.environment |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"}
        try:
            daemon.start()
            said = [heard.recv(4096).decode() for _ in range(3)]
            ready = f"READY=1\nSTATUS=listening on {daemon.url}"
            assert said == [ready, "WATCHDOG=1", "WATCHDOG=1"]
            daemon.load("chat")
            assert daemon.end() == 0
            while (last := heard.recv(4096).decode()) == "WATCHDOG=1":
                pass
            assert last == "STOPPING=1\nEXTEND_TIMEOUT_USEC=150000000"
            assert daemon.servers() == []
        finally:
            daemon.clean_up()


def test_jobs_and_processes_of_the_daemon_are_told(daemons):
    daemon = daemons({"a": model(1000)})
    daemon.load("a")
    (server,) = daemon.servers("a")
    assert daemon.status()["loaded_models"]["a"]["process_id"] == server.pid
    jobs = {job["name"]: job for job in daemon.http.get("/admin/jobs").json()["jobs"]}
    assert jobs["sample"]["last_run_at"] < jobs["sample"]["next_run_at"]
