import asyncio

import pytest

from orchestrator.web.live.sse import EventStream


async def never():
    await asyncio.Event().wait()


async def frames(*given, then=None):
    for frame in given:
        yield frame
    if then is not None:
        await then()


def stream(source, receive, send, **limits):
    async def run():
        async with asyncio.timeout(5):
            await EventStream(source, **limits)({}, receive, send)

    asyncio.run(run())


def test_stream_ends_when_all_is_said():
    sent = []

    async def send(message):
        sent.append(message)

    stream(frames(b"a", b"b"), never, send)
    start, *body = sent
    headers = dict(start["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"x-accel-buffering"] == b"no"
    assert b"content-length" not in headers
    assert [(each["body"], each.get("more_body", False)) for each in body] == [
        (b"a", True),
        (b"b", True),
        (b"", False),
    ]


def test_stream_ends_when_the_client_leaves():
    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    stream(frames(b"a", then=never), receive, send)


def test_client_that_takes_nothing_is_let_go(caplog):
    async def send(message):
        if message["type"] == "http.response.body":
            await never()

    stream(frames(b"a"), never, send, stall_s_max=0.01)
    assert "took no event" in caplog.text


def test_defect_behind_the_stream_is_not_hidden():
    async def broken():
        raise LookupError("defect")

    async def send(message):
        pass

    with pytest.raises(LookupError):
        stream(frames(then=broken), never, send)
