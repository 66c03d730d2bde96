import asyncio
import json

import pytest

from orchestrator.web.ending import Ending

SCOPE = {"type": "http", "method": "GET", "path": "/models/a/logs", "headers": []}
START = {"type": "http.response.start", "status": 200, "headers": []}


def cancelled(app, scope=SCOPE):
    """What was sent by a request that the end of the daemon found at work."""
    sent = []

    async def send(message):
        sent.append(message)

    async def scene():
        asking = asyncio.create_task(Ending(app)(scope, None, send))
        await asyncio.sleep(0)
        asking.cancel()
        await asking

    asyncio.run(scene())
    return sent


def test_who_has_no_answer_yet_hears_that_the_daemon_ends():
    async def waits(scope, receive, send):
        await asyncio.sleep(60)

    start, body = cancelled(waits)
    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]
    assert json.loads(body["body"])["code"] == "shutting_down"


def test_an_answer_that_has_begun_is_not_answered_again():
    async def streams(scope, receive, send):
        await send(START)
        await asyncio.sleep(60)

    assert cancelled(streams) == [START]


def test_what_is_no_request_is_cancelled_as_ever():
    async def waits(scope, receive, send):
        await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        cancelled(waits, {"type": "lifespan"})
