"""A program that is known by one address only."""

import pytest

from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.engines.health_path import HealthPathTalker
from orchestrator.errors import Unreachable
from orchestrator.ports import Use
from tests.stand_in import stand_in
from tests.unit.engines.launched import spec_of, with_http

NOWHERE = Endpoint("http://127.0.0.1:9")


def made(http, *, health="/ready", **keys):
    return HealthPathTalker(http, health, **keys)


def use(url, **keys):
    said = []

    async def scene(http):
        said.append(await made(http, **keys).use(Endpoint(url)))

    with_http(scene)
    return said[0]


def readiness(url, **changes):
    said = []

    async def scene(http):
        said.append(await made(http, **changes).readiness(Endpoint(url)))

    with_http(scene)
    return said[0]


@pytest.mark.parametrize("status", [200, 204, 302, 401, 404, 405])
def test_whoever_answers_is_ready(status):
    with stand_in(**{"GET /ready": (status, {})}) as server:
        assert readiness(server.url).state is ReadyState.READY
        assert [path for _, path, _, _ in server.asked] == ["/ready"]


@pytest.mark.parametrize("status", [500, 502, 503])
def test_who_says_that_it_cannot_yet_is_starting(status):
    with stand_in(**{"GET /ready": (status, {})}) as server:
        seen = readiness(server.url)
    assert (seen.state, seen.detail) == (ReadyState.STARTING, f"/ready answers {status}")


def test_who_does_not_answer_is_starting():
    assert readiness(NOWHERE.url).state is ReadyState.STARTING


def test_its_use_is_what_its_metrics_say():
    with stand_in(**{"GET /queue": (200, {"running": [1, 2]}), "GET /none": (404, {})}) as server:
        assert use(server.url, metrics="/queue", busy=("running",)).busy_slots == 2
        assert use(server.url, metrics="/none").busy_slots is None
    with pytest.raises(Unreachable):
        use(NOWHERE.url, metrics="/queue")


def test_only_with_metrics_it_says_whether_it_is_in_use():
    async def scene(http):
        assert made(http, metrics="/metrics").tells_use
        assert not made(http).tells_use

    with_http(scene)


def test_its_use_is_not_seen_and_it_is_asked_for_nothing():
    async def scene(http):
        assert await made(http).use(NOWHERE) == Use(busy_slots=None, served_total=None)
        await made(http).unload(NOWHERE, spec_of())

    with_http(scene)
