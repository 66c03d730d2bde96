"""A container that is known by one address only."""

import asyncio

import pytest

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import Endpoint
from orchestrator.engines.any_container import SomeContainer
from orchestrator.ports import Exit, ReadyState, Use
from tests.stand_in import stand_in
from tests.unit.engines.launched import INSTANCE, ON_HOST, spec_of, with_http

NOWHERE = Endpoint("http://127.0.0.1:9")
GONE = Failure(reason=FailureReason.ARGUMENTS, detail="no such container")


async def nothing_lacks(spec):
    return None


async def all_is_gone(spec):
    return GONE


def made(http, *, health="/ready", lacking=nothing_lacks):
    return SomeContainer(http, container="whisperx", health=health, lacking=lacking)


def readiness(url, **changes):
    said = []

    async def scene(http):
        said.append(await made(http, **changes).readiness(Endpoint(url)))

    with_http(scene)
    return said[0]


def test_it_is_started_by_its_name_and_nothing_else_is_said_about_it():
    async def scene(http):
        launch = made(http).launch(INSTANCE, spec_of(), ON_HOST)
        assert (launch.container, launch.image, launch.argv) == ("whisperx", None, ())
        assert launch.devices == ON_HOST.devices

    with_http(scene)


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


def test_its_use_is_not_seen():
    async def scene(http):
        assert await made(http).use(NOWHERE) == Use(busy_slots=None, served_total=None)

    with_http(scene)


def test_what_the_runtime_lacks_is_told_before_a_start():
    async def scene(http):
        assert await made(http).check(spec_of()) is None
        assert await made(http, lacking=all_is_gone).check(spec_of()) == GONE

    with_http(scene)


def test_a_program_on_the_gpu_that_ran_out_of_memory_says_so():
    line = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB."

    async def scene(http):
        failure = made(http).classify(Exit(code=1, log_tail=(line,)))
        assert failure.reason is FailureReason.OUT_OF_MEMORY
        assert made(http).classify(Exit(code=3)).reason is FailureReason.EXITED
        await asyncio.wait_for(made(http).unload(NOWHERE, spec_of()), 1)

    with_http(scene)
