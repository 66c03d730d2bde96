import asyncio

import httpx
import pytest

from orchestrator.client.asynchronous.transport import AsyncTransport
from orchestrator.client.errors import LeaseLost, NotAnswered
from orchestrator.client.exchanges import Ask, Retries, answered
from orchestrator.client.leases import HeldLease
from tests.asynchronous import eventually, run
from tests.unit.client.shells import GONE, RENEWED, asked

LEASE_S = 0.06


def taking():
    yield from ()
    return HeldLease(lease_id="l-1", owner="me", lease_s=LEASE_S, expires_at=None, path="/leases")


def test_what_is_asked_arrives_with_the_key_and_is_asked_again(server):
    async def walk():
        transport = AsyncTransport(server.url, "k", None)
        server.answers["GET /health"] = [(503, {"retry_after_seconds": 0.01}), {}]
        reply = await transport.run(answered(Ask(method="GET", path="/health"), Retries()))
        await transport.close()
        return reply

    assert run(walk()).status == 200
    assert [headers["Authorization"] for _, _, headers, _ in server.asked] == ["Bearer k"] * 2


def test_nobody_there_is_told_so():
    async def walk():
        transport = AsyncTransport("http://127.0.0.1:9", None, None)
        await transport.run(answered(Ask(method="GET", path="/"), Retries(tries_max=1)))

    with pytest.raises(NotAnswered, match="Nothing answers at"):
        run(walk())


def test_a_client_of_the_caller_s_is_used_and_left_open(server):
    async def walk():
        async with httpx.AsyncClient(headers={"X-Mine": "1"}) as http:
            transport = AsyncTransport(server.url, None, http)
            await transport.run(answered(Ask(method="GET", path="/health"), Retries()))
            await transport.close()
            assert not http.is_closed

    run(walk())
    assert server.asked[0][2]["X-Mine"] == "1"


def test_a_lease_is_renewed_while_its_block_runs_and_given_back(server):
    async def walk():
        transport = AsyncTransport(server.url, None, None)
        async with transport.holding(taking()) as held:
            await eventually(lambda: asked(server).count("PUT /leases/l-1") >= 2)
            held.check()
        assert asked(server)[-1] == "DELETE /leases/l-1"
        await transport.close()

    run(walk())


def test_a_lost_lease_is_told_and_not_given_back(server):
    server.answers["PUT /leases/l-1"] = [RENEWED, GONE]

    async def walk():
        transport = AsyncTransport(server.url, None, None)
        async with transport.holding(taking()) as held:
            await eventually(lambda: held.lost is not None)
            with pytest.raises(LeaseLost):
                held.check()
        await transport.close()

    run(walk())
    assert "DELETE /leases/l-1" not in asked(server)


def test_a_cancelled_block_gives_its_lease_back(server):
    async def walk():
        transport = AsyncTransport(server.url, None, None)
        entered = asyncio.Event()

        async def hold():
            async with transport.holding(taking()):
                entered.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(hold())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await transport.close()

    run(walk())
    assert asked(server)[-1] == "DELETE /leases/l-1"
