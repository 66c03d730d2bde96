import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.errors import StartFailed, Unreachable
from orchestrator.ports import Handle
from orchestrator.runtimes import external
from orchestrator.runtimes.external import PROBES_LOST_MAX, ExternalRuntime
from tests.asynchronous import eventually, run
from tests.simulation import virtual_time
from tests.unit.runtimes.processes import descriptors, program

QUICK_S = 0.01


@contextmanager
def closed_port():
    """A port that refuses, and that nobody else can take meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@asynccontextmanager
async def listening(host="127.0.0.1", port=0):
    accepted = []

    async def accept(reader, writer):
        accepted.append(await reader.read())
        writer.close()

    server = await asyncio.start_server(accept, host, port)
    async with server:
        yield server.sockets[0].getsockname()[1], accepted


async def started(runtime, url):
    return await runtime.start(program(url=url))


def test_it_runs_where_its_url_says_whether_or_not_it_answers():
    async def scenario():
        running = await started(ExternalRuntime(), "http://127.0.0.1:9")
        assert running.endpoint.url == "http://127.0.0.1:9"
        assert running.handle.runtime == "external"

    run(scenario())


@pytest.mark.parametrize(
    "url", [None, "", "elsewhere", "ftp://host", "http://", "http://host:99999", "http://[::1"]
)
def test_what_is_no_address_cannot_be_started(url):
    async def scenario():
        with pytest.raises(StartFailed) as caught:
            await ExternalRuntime().start(program(url=url))
        assert caught.value.failure.reason is FailureReason.ARGUMENTS

    run(scenario())


def test_it_lives_while_somebody_listens_and_is_asked_nothing():
    async def scenario():
        runtime = ExternalRuntime()
        async with listening() as (port, accepted):
            handle = (await started(runtime, f"http://127.0.0.1:{port}")).handle
            assert await runtime.alive(handle)
            await eventually(lambda: accepted == [b""])
        assert not await runtime.alive(handle)

    run(scenario())


def test_a_name_with_several_addresses_is_tried_on_each():
    """Refused on one and accepted on the other is alive; refused on all of them is not."""

    async def scenario():
        runtime = ExternalRuntime()
        async with listening() as (port, _):
            handle = (await started(runtime, f"http://localhost:{port}")).handle
            assert await runtime.alive(handle)
        with closed_port() as port:
            handle = (await started(runtime, f"http://localhost:{port}")).handle
            assert not await runtime.alive(handle)

    run(scenario())


def test_a_name_that_nobody_knows_is_unreachable():
    async def scenario():
        runtime = ExternalRuntime()
        for name in ("no-such-host.invalid", "x" * 70):
            handle = (await started(runtime, f"http://{name}:1")).handle
            with pytest.raises(Unreachable):
                await runtime.alive(handle)

    run(scenario())


def test_a_host_that_does_not_answer_is_unreachable(monkeypatch):
    """A listener whose queue is full drops what else comes, as a dead host would."""

    async def scenario():
        monkeypatch.setattr(external, "CONNECT_TIMEOUT_S", 0.05)
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(deaf.getsockname())
            handle = (
                await started(ExternalRuntime(), f"http://127.0.0.1:{deaf.getsockname()[1]}")
            ).handle
            try:
                with pytest.raises(Unreachable):
                    await ExternalRuntime().alive(handle)
            finally:
                for filler in fillers:
                    filler.close()

    run(scenario())


def test_a_stop_stops_nothing():
    async def scenario():
        runtime = ExternalRuntime()
        async with listening() as (port, _):
            handle = (await started(runtime, f"http://127.0.0.1:{port}")).handle
            await runtime.stop(handle, grace_s=10)
            assert await runtime.alive(handle)

    run(scenario())


def test_its_end_is_seen_after_several_lost_looks():
    async def scenario():
        runtime = ExternalRuntime(probe_interval_s=QUICK_S)
        async with listening() as (port, accepted):
            handle = (await started(runtime, f"http://127.0.0.1:{port}")).handle
            waiting = asyncio.create_task(runtime.wait(handle))
            await eventually(lambda: len(accepted) > PROBES_LOST_MAX)
            assert not waiting.done()
        exit_ = await waiting
        assert exit_.code is None
        assert exit_.log_tail

    run(scenario())


def test_looks_lost_now_and_then_are_not_an_end():
    """A server that its owner restarts is back before the last look is lost."""

    async def scenario():
        looks = iter([True, *[False, False, True] * 5, False, False, False, True])

        async def look():
            return next(looks)

        await external.until_lost(look, 2.0)
        assert list(looks) == [True]
        return asyncio.get_running_loop().time()

    assert virtual_time.run(scenario()) == 2.0 * (1 + 15 + 2)


def test_nothing_of_it_is_ours():
    async def scenario():
        runtime = ExternalRuntime()
        handle = (await started(runtime, "http://127.0.0.1:9")).handle
        assert await runtime.discover() == ()
        assert await runtime.pids(handle) == frozenset()
        assert await runtime.log_tail(handle, 10) == ()
        assert await runtime.log_size(handle) == 0

    run(scenario())


@pytest.mark.parametrize("fields", [{}, {"url": 5}, {"url": "nonsense"}])
def test_a_handle_that_makes_no_sense_is_refused(fields):
    async def scenario():
        with pytest.raises(Unreachable):
            await ExternalRuntime().alive(Handle(runtime="external", version=1, fields=fields))

    run(scenario())


def test_looks_leak_no_descriptor():
    async def scenario():
        runtime = ExternalRuntime()
        with closed_port() as port:
            handle = (await started(runtime, f"http://127.0.0.1:{port}")).handle
            await runtime.alive(handle)
            before = descriptors()
            for _ in range(50):
                await runtime.alive(handle)
            assert descriptors() == before

    run(scenario())
