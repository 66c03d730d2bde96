"""A mistake of ours in the core: the daemon ends in order, and its next life knows what is true."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.scenarios.daemon import Daemon, config, model

BIG = 20000


@pytest.fixture
def daemon(tmp_path):
    """Also told to stop its models at its end, which it may not do on a state that it cannot trust."""
    models = {"a": model(5000), "b": model(BIG), "c": model(BIG)}
    started = Daemon(tmp_path, config(models, on_shutdown="stop"))
    started.executed, started.program = True, "tests.scenarios.breaking_daemon"
    try:
        started.start()
        yield started
    finally:
        started.clean_up()


def test_a_core_that_breaks_off_ends_the_daemon_and_no_server(daemon):
    daemon.load("a", owner="me")
    daemon.load("b", owner="me")
    before = {server.pid for server in daemon.servers()}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(daemon.post, "/models/load", {"model": "c"})
        daemon.until(lambda s: s["queue"], "c waits")
        refused = daemon.http.put("/models/a/pin", json={})
        assert daemon.process.wait(timeout=30) == 1
        for answer in (refused, waiting.result(timeout=30)):
            assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
    said = daemon.log()
    assert "The daemon made a mistake (ZeroDivisionError('as it was told to'))" in said
    assert "PinChanged(model='a', pinned=True)" in said
    assert said.count("Traceback") == 1
    assert {server.pid for server in daemon.servers()} == before
    daemon.program = "orchestrator"
    daemon.start()
    daemon.until_loaded(a="loaded", b="loaded")
    assert {server.pid for server in daemon.servers()} == before
    assert len(daemon.http.get("/leases").json()["leases"]) == 2
