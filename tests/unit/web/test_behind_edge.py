import asyncio
from types import SimpleNamespace

from orchestrator.web.behind_edge import ALREADY_ASKED, BehindEdge
from orchestrator.web.connection import CALLER

HEADERS = [(b"host", b"x"), (b"x-edge-client", b"10.0.0.9"), (b"x-edge-tried", b"1")]


def passed(*, from_edge, headers=HEADERS):
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)

    connection = SimpleNamespace(from_edge=from_edge)
    scope = {
        "type": "http",
        "client": None,
        "headers": headers,
        "extensions": {CALLER: {"connection": connection}},
    }
    asyncio.run(BehindEdge(app)(scope, None, None))
    return seen[0]


def test_our_own_edge_says_whom_a_request_is_of():
    scope = passed(from_edge=True)
    assert scope["client"] == ("10.0.0.9", 0)
    assert scope["headers"] == [(b"host", b"x")]
    assert scope["extensions"][CALLER][ALREADY_ASKED]
    assert not passed(from_edge=True, headers=HEADERS[:2])["extensions"][CALLER][ALREADY_ASKED]


def test_nobody_else_is_believed():
    scope = passed(from_edge=False)
    assert scope["client"] is None
    assert ALREADY_ASKED not in scope["extensions"][CALLER]
