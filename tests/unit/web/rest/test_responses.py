import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from orchestrator.web.rest.responses import unless_gone


def request(receive):
    return Request({"type": "http", "path": "/x", "headers": []}, receive)


async def stay():
    await asyncio.Event().wait()


async def leave():
    return {"type": "http.disconnect"}


def test_work_is_done_for_a_caller_that_stays():
    async def work():
        return 7

    assert asyncio.run(unless_gone(request(stay), work())) == 7


def test_work_is_cancelled_when_the_caller_leaves():
    ended = []

    async def work():
        try:
            await stay()
        finally:
            ended.append("undone")

    with pytest.raises(ClientDisconnect):
        asyncio.run(unless_gone(request(leave), work()))
    assert ended == ["undone"]


def test_error_of_the_work_is_its_own():
    async def work():
        raise LookupError("defect")

    with pytest.raises(LookupError):
        asyncio.run(unless_gone(request(stay), work()))
