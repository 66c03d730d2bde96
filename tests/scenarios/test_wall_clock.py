"""The wall clock is set while the daemon runs, or while none runs."""

import re
import subprocess
import time
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from orchestrator.access.audit.chain import verify
from tests.pace import crowd
from tests.scenarios.daemon import Daemon, config, model
from tests.scenarios.test_keys import bearer, keys

HOUR_S, DAY_S = 3600, 86400
LEASE_S = 600
NEAR_S = 5.0  # of an instant, on a machine of its own


class Clocked(Daemon):
    """A daemon whose wall clock is ahead of ours by what is set."""

    def __init__(self, directory, library, settings):
        super().__init__(directory, settings)
        self.ahead = directory / "ahead"
        self.environment |= {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self.ahead)}
        self.set_clock(0)

    def set_clock(self, ahead_s):
        self.ahead_s = round(ahead_s)
        self.ahead.write_text(str(self.ahead_s))

    def wall_s(self):
        return time.time() + self.ahead_s

    def is_near(self, instant, wall_s):
        at_s = datetime.fromisoformat(instant).timestamp()
        return abs(at_s - wall_s) < NEAR_S * crowd()

    def leases(self):
        return {each["lease_id"]: each for each in self.http.get("/leases").json()["leases"]}


@pytest.fixture
def library(tmp_path):
    library = tmp_path / "wall_clock.so"
    source = Path(__file__).parents[1] / "standins" / "wall_clock.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture
def daemon(tmp_path, library):
    daemon = Clocked(
        tmp_path, library, config({"a": model(1000), "b": model(1000), "c": model(32000)})
    )
    try:
        yield daemon
    finally:
        daemon.clean_up()


def test_the_wall_clock_jumps_and_durations_stay(daemon):
    daemon.start()
    held = daemon.load("a", owner="me", lease_seconds=LEASE_S)["lease_id"]
    for jump_s in (HOUR_S, -HOUR_S, DAY_S, -DAY_S):
        short = daemon.load("b", owner="you", lease_seconds=3)["lease_id"]
        daemon.set_clock(jump_s)
        began = time.monotonic()
        while short in daemon.leases():
            assert time.monotonic() - began < 8 * crowd(), f"{jump_s}: it expires in its time"
            time.sleep(0.05)
        assert time.monotonic() - began > 1.5, f"{jump_s}: and not before"
        assert held in daemon.leases()
        daemon.unload("b", force=True)
        assert daemon.load("b")["status"] == "loaded"
    assert daemon.http.get("/health/ready").status_code == 200
    verify(daemon.directory / "state")
    daemon.kill()
    daemon.start()  # a day earlier than it went on
    assert held in daemon.leases()
    assert daemon.loaded() == {"a": "loaded", "b": "loaded"}
    assert "Traceback" not in daemon.log()


FROM_1970 = "from 1970"  # as a board without a battery, until it has heard of the time


@pytest.fixture(params=[HOUR_S, -HOUR_S, FROM_1970])
def jumped(request, daemon):
    """A daemon that gave a lease, and whose wall clock was then set; when the lease ends by it."""
    if request.param == FROM_1970:
        daemon.set_clock(60 - time.time())
    daemon.start()
    lease = daemon.load("a", owner="me", lease_seconds=LEASE_S)
    assert daemon.is_near(lease["expires_at"], daemon.wall_s() + LEASE_S)
    daemon.set_clock(0 if request.param == FROM_1970 else request.param)
    return daemon, lease["lease_id"], daemon.wall_s() + LEASE_S


def test_instants_are_told_by_the_clock_as_it_is_set(jumped):
    daemon, lease, ends_s = jumped
    since_s = daemon.wall_s()
    assert daemon.is_near(daemon.leases()[lease]["expires_at"], ends_s)
    status = daemon.status()
    told = status["loaded_models"]["a"]
    for instant in (status["now"], told["loaded_at"], told["last_used_at"]):
        assert daemon.is_near(instant, since_s), instant
    assert daemon.is_near(daemon.http.get("/devices").json()["devices"][0]["read_at"], since_s)
    renewed = daemon.http.put(f"/leases/{lease}", json={"lease_seconds": 2 * LEASE_S}).json()
    assert daemon.is_near(renewed["expires_at"], ends_s + LEASE_S)
    daemon.http.put(f"/leases/{lease}", json={"lease_seconds": LEASE_S}).raise_for_status()
    said = refusal_of(daemon)
    assert daemon.is_near(said["possible_at"], ends_s)
    assert any(daemon.is_near(each["possible_at"], ends_s) for each in said["blockers"])
    assert sentence_is_near(said["detail"], ends_s), said["detail"]
    daemon.post("/v1/chat/completions", {"model": "a", "messages": [], "max_tokens": 1})
    (ended,) = daemon.http.get("/requests").json()["ended"]
    assert daemon.is_near(ended["began_at"], daemon.wall_s())
    assert 0 <= ended["total_seconds"] < NEAR_S * crowd()
    assert daemon.is_near(daemon.load("b")["loaded_at"], daemon.wall_s())
    assert daemon.is_near(daemon.decisions("load", "b")[-1]["at"], daemon.wall_s())


def refusal_of(daemon):
    """Of a model that has no room beside one that is leased."""
    return daemon.post("/models/plan", {"model": "c"}).json()["refusal"]


def sentence_is_near(text, wall_s):
    """Whether it says that time of day."""
    hours, minutes, seconds = map(int, re.search(r"at (\d\d):(\d\d):(\d\d) UTC", text).groups())
    difference_s = abs((hours * 60 + minutes) * 60 + seconds - wall_s % DAY_S)
    return min(difference_s, DAY_S - difference_s) < NEAR_S * crowd()


def test_a_restart_goes_on_by_the_clock_as_it_was_set(jumped):
    daemon, lease, ends_s = jumped
    daemon.until(lambda status: daemon.is_near(status["now"], daemon.wall_s()), "it is noticed")
    daemon.kill()
    daemon.start()
    assert daemon.is_near(daemon.leases()[lease]["expires_at"], ends_s)
    assert daemon.is_near(daemon.load("b")["loaded_at"], daemon.wall_s())
    assert daemon.is_near(daemon.decisions("load", "b")[-1]["at"], daemon.wall_s())


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, -DAY_S])
def test_a_clock_that_is_set_while_no_daemon_runs_moves_no_end(daemon, jump_s):
    daemon.start()
    lease = daemon.load("a", owner="me", lease_seconds=LEASE_S)["lease_id"]
    daemon.kill()
    daemon.set_clock(jump_s)
    daemon.start()
    told = daemon.leases()[lease]["expires_at"]
    assert daemon.is_near(told, daemon.wall_s() + LEASE_S), "as long as it was given for"
    again = daemon.load("a", owner="you", lease_seconds=LEASE_S)["lease_id"]
    assert again != lease


def test_a_key_ends_by_the_wall_clock_and_its_minute_is_a_minute(daemon):
    words = ("create", "n8n", "--scope", "load", "--expires", "1d", "--requests-per-minute", "5")
    headers = bearer(keys(daemon, *words))
    daemon.start()
    ask = partial(daemon.http.get, "/models", headers=headers)
    daemon.set_clock(HOUR_S)
    assert [ask().status_code for _ in range(6)] == [200] * 5 + [429]
    daemon.set_clock(-HOUR_S)
    refused = ask()
    assert refused.status_code == 200 or int(refused.headers["Retry-After"]) <= 60
    daemon.set_clock(2 * DAY_S)
    assert ask().json()["code"] == "key_expired"
    daemon.set_clock(0)
    assert ask().status_code in {200, 429}, "it is of today again"
