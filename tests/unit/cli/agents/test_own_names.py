import asyncio

import pytest

from orchestrator.cli.agents.own_names import OwnNames


def answered(*headers, kind="http"):
    """The status of the answer to a request with these headers; 200: it passed."""
    told = []

    async def app(scope, receive, send):
        told.append(200)

    async def send(message):
        told.append(message.get("status"))

    raw = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": kind, "method": "POST", "scheme": "http", "headers": raw}
    asyncio.run(OwnNames(app, "GPU.example.org")(scope, None, send))
    return told[0]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8123",
        "[::1]:8123",
        "192.168.1.5",
        "localhost:1",
        "box.local",
        "gpu.example.org:1",
    ],
)
def test_own_names_pass(host):
    assert answered(("host", host)) == 200
    assert answered(("host", host), ("origin", f"http://{host}")) == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:evil", ""])
def test_a_name_that_another_may_have_pointed_here_is_refused(host):
    assert answered(("host", host)) == 421


def test_no_host_and_two_hosts_are_refused():
    assert answered() == 421
    assert answered(("host", "localhost"), ("host", "localhost")) == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9", "null"])
def test_pages_of_another_origin_are_refused(origin):
    assert answered(("host", "127.0.0.1:8123"), ("origin", origin)) == 403


def test_what_is_no_request_passes():
    assert answered(kind="lifespan") == 200
