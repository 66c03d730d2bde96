"""Faults of tests/faults/table.py that no other scenario injects; each against the real daemon."""

import os
import resource
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psutil
import pytest

from orchestrator.access.audit.chain import verify
from tests.pace import crowd
from tests.scenarios.daemon import Daemon, chat, config, model
from tests.scenarios.world import BadDisk, stopped

IDLE = 10_000  # connections; fewer where a process may not have so many files open
STORM = (signal.SIGHUP,) * 20


def in_state(daemon):
    return daemon.directory / "state"


# --- standstill -------------------------------------------------------------------------------


def test_no_load_times_out_by_a_standstill(daemons):
    """The daemon stands still for longer than a load may take, while the load goes on."""
    slow = model(1000, fake={"load_s": 2})
    daemon = daemons({"a": slow}, scheduling={"load_deadline_s": 4})
    with ThreadPoolExecutor(1) as pool:
        order = pool.submit(daemon.load, "a")
        daemon.until(lambda _: daemon.loaded() == {"a": "loading"}, "it loads")
        with stopped(daemon):
            time.sleep(6)
        assert order.result()["status"] == "loaded"
    assert len(daemon.decisions("load")) == 1


def leases(daemon):
    return [each["lease_id"] for each in daemon.http.get("/leases").json()["leases"]]


# --- disks -----------------------------------------------------------------------------------


def test_a_slow_audit_disk_delays_admins_alone(tmp_path):
    disk = BadDisk(tmp_path)
    daemon = Daemon(tmp_path, config({"a": model(1000), "b": model(1000)}))
    daemon.environment |= disk.environment(slow_ms=1500) | {"DISK_NAME": "audit.jsonl"}
    try:
        daemon.start()
        daemon.load("a")
        disk.becomes("slow")
        waits = []

        def pin():
            began = time.monotonic()
            assert daemon.http.put("/models/a/pin").status_code == 200
            waits.append(time.monotonic() - began)

        pinning = threading.Thread(target=pin)
        pinning.start()
        began = time.monotonic()
        for _ in range(10):
            httpx.post(f"{daemon.url}/models/load", json={"model": "a"}).raise_for_status()
            assert daemon.status()["used_mb"] == 1000
        assert daemon.load("b")["status"] == "loaded"
        assert time.monotonic() - began < 1.4 * crowd()
        pinning.join()
        assert waits[0] > 1.4, "it is on the disk before it is done"
        disk.becomes("well")
        verify(in_state(daemon))
    finally:
        daemon.clean_up()


# --- callers and signals ---------------------------------------------------------------------


def test_idle_connections_delay_nobody(daemons):
    daemon = daemons({"a": model(1000)})
    daemon.load("a")
    open_max = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with ExitStack() as stack:
        for _ in range(min(IDLE, open_max // 2)):
            stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=20))
        looks = []
        for _ in range(200):
            began = time.monotonic()
            assert httpx.get(f"{daemon.url}/health", timeout=20).status_code == 200
            looks.append(time.monotonic() - began)
        assert sorted(looks)[100] < 0.05 * crowd()
        assert sorted(looks)[197] < 0.25 * crowd()
        answer = daemon.post("/v1/chat/completions", chat() | {"model": "a"})
        assert answer.status_code == 200


def test_bodies_of_all_who_wait_are_bounded_together(daemons):
    bounds = {"body_limit_bytes": 400_000, "bodies_limit_bytes": 1_000_000}
    daemon = daemons({"a": model(1000, fake={"load_s": 3})}, server=bounds)
    large = chat() | {"model": "a", "x": "y" * 390_000}
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(daemon.post, "/v1/chat/completions", large) for _ in range(2)]
        daemon.until(
            lambda _: len(daemon.http.get("/requests").json()["running"]) == 2, "they wait"
        )
        refused = daemon.post("/v1/chat/completions", large)
        small = daemon.post("/v1/chat/completions", chat() | {"model": "a"})
        assert [answer.result().status_code for answer in waiting] == [200, 200]
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_bytes")
    assert int(refused.headers["Retry-After"]) >= 1
    assert small.status_code == 200
    assert daemon.post("/v1/chat/completions", large).status_code == 200, "their room is back"


def test_a_storm_of_signals_ends_it_once_and_cleanly(daemons):
    daemon = daemons({"a": model(1000), "b": model(1000, fake={"load_s": 2})})
    daemon.load("a", owner="me")
    loading = threading.Thread(
        target=lambda: httpx.post(f"{daemon.url}/models/load", json={"model": "b"}, timeout=60)
    )
    loading.start()
    daemon.until(lambda _: daemon.loaded().get("b") == "loading", "it loads")
    for number in STORM:
        daemon.signal(number)
    daemon.until(lambda _: daemon.http.get("/health").status_code == 200, "it serves on")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        daemon.signal(number)
    assert daemon.process.wait(timeout=30 * crowd()) == 0
    loading.join()
    assert "Traceback" not in daemon.log()
    daemon.start()
    daemon.until(lambda _: daemon.loaded() == {"a": "loaded", "b": "loaded"}, "both are kept")
    assert len(daemon.servers()) == 2
    assert len(leases(daemon)) == 1
    verify(in_state(daemon))


@pytest.mark.nginx
def test_an_nginx_worker_that_stands_still_holds_up_no_unload(edged):
    """Its counts are not to be had; the bound of a drain holds all the same, and the status is told."""
    daemon = edged({"a": model(1000)}, scheduling={"drain_timeout_s": 3})
    daemon.load("a")
    workers = nginx_workers(daemon)
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        began = time.monotonic()
        looks = []
        with ThreadPoolExecutor(1) as pool:
            order = pool.submit(
                daemon.beside.post, "/models/unload", json={"model": "a"}, timeout=60
            )
            while not order.done():
                since = time.monotonic()
                daemon.beside.get("/models/status", timeout=20).raise_for_status()
                looks.append(time.monotonic() - since)
                assert time.monotonic() - began < 20 * crowd()
            assert order.result().status_code in {200, 409}
        assert sorted(looks)[len(looks) // 2] < 0.05 * crowd()
    finally:
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
    daemon.unload("a", force=True)
    assert daemon.servers() == []


def nginx_workers(daemon):
    master = psutil.Process(daemon.edge.pid)
    return [
        child.pid
        for child in master.children(recursive=True)
        if "worker" in " ".join(child.cmdline())
    ]
