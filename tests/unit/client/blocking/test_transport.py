import threading
import time

import httpx
import pytest

from orchestrator.client.blocking.transport import BlockingTransport
from orchestrator.client.errors import ClientError, LeaseLost, NotAnswered
from orchestrator.client.exchanges import Ask, Retries, answered
from orchestrator.client.leases import HeldLease
from tests.unit.client.shells import GONE, RENEWED, asked

LEASE_S = 0.06
PATIENCE_S = 10.0


@pytest.fixture
def transport(server):
    transport = BlockingTransport(server.url, "k", None)
    yield transport
    transport.close()


def taking():
    yield from ()
    return HeldLease(lease_id="l-1", owner="me", lease_s=LEASE_S, expires_at=None, path="/leases")


def until(holds):
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_what_is_asked_arrives_with_the_key(server, transport):
    ask = Ask(method="POST", path="/tokenize", body={"content": "x"}, headers={"X-Owner": "Büro"})
    reply = transport.run(answered(ask, Retries()))
    assert reply.status == 200
    assert reply.took_s > 0
    method, path, headers, body = server.asked[0]
    assert (method, path, body) == ("POST", "/tokenize", {"content": "x"})
    assert headers["Authorization"] == "Bearer k"


def test_pauses_take_their_time(server, transport):
    server.answers["GET /health"] = [(503, {"retry_after_seconds": 0.05}), {}]
    began_s = time.monotonic()
    transport.run(answered(Ask(method="GET", path="/health"), Retries()))
    assert time.monotonic() - began_s >= 0.05
    assert len(server.asked) == 2


def test_nobody_there_is_told_so():
    transport = BlockingTransport("http://127.0.0.1:9", None, None)
    with pytest.raises(NotAnswered, match="Nothing answers at"):
        transport.run(answered(Ask(method="GET", path="/"), Retries(tries_max=1)))


def test_a_client_of_the_caller_s_is_used_and_left_open(server):
    with httpx.Client(headers={"X-Mine": "1"}) as http:
        transport = BlockingTransport(server.url, None, http)
        transport.run(answered(Ask(method="GET", path="/health"), Retries()))
        transport.close()
        assert not http.is_closed
    assert server.asked[0][2]["X-Mine"] == "1"


def test_a_lease_is_renewed_while_its_block_runs_and_given_back(server, transport):
    with transport.holding(taking()) as held:
        until(lambda: asked(server).count("PUT /leases/l-1") >= 2)
        held.check()
    assert asked(server)[-1] == "DELETE /leases/l-1"
    assert held.expires_at is not None
    count = len(server.asked)
    time.sleep(LEASE_S)
    assert len(server.asked) == count, "nobody renews any more"


def test_a_lost_lease_is_told_and_not_given_back(server, transport):
    server.answers["PUT /leases/l-1"] = [RENEWED, GONE]
    with transport.holding(taking()) as held:
        until(lambda: held.lost)
        with pytest.raises(LeaseLost):
            held.check()
    assert "DELETE /leases/l-1" not in asked(server)


def test_it_is_given_back_also_when_the_block_fails(server, transport):
    with pytest.raises(ZeroDivisionError), transport.holding(taking()):
        _ = 1 / 0
    assert asked(server)[-1] == "DELETE /leases/l-1"
    assert threading.active_count() < 10


def test_a_lease_that_is_not_had_runs_no_block(transport):
    def refused():
        yield Ask(method="GET", path="/nowhere")
        raise ClientError("No.")

    with pytest.raises(ClientError, match="No"), transport.holding(refused()):
        pytest.fail("the block ran")
