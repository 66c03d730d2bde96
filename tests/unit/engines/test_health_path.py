"""A program that is known by one address only."""

import pytest

from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.engines.health_path import HealthPathTalker
from orchestrator.ports import Use
from tests.stand_in import stand_in
from tests.unit.engines.launched import spec_of, with_http

NOWHERE = Endpoint("http://127.0.0.1:9")


def made(http, *, health="/ready"):
    return HealthPathTalker(http, health)


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


def test_its_use_is_not_seen_and_it_is_asked_for_nothing():
    async def scene(http):
        assert await made(http).use(NOWHERE) == Use(busy_slots=None, served_total=None)
        await made(http).unload(NOWHERE, spec_of())

    with_http(scene)
