"""The application behind a real socket, and what a client hears of its events."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from orchestrator.desk.desk import Desk
from orchestrator.orders import LoadOrder
from orchestrator.web.connection import connection_class
from tests.unit.web.office import Office, app_of

Event = tuple[str | None, dict[str, Any]]  # its id, where it has one, and its JSON

PATIENCE_S = 5.0  # far more than anything here takes


@asynccontextmanager
async def serving(office: Office, *names: str) -> AsyncIterator[str]:
    """A base URL, in real time, once models of those names are loaded.

    Streams end with the history, as they do when the daemon stops.
    """
    async with office.opened() as desk:
        for name in names:
            await desk.load_outcome((await desk.begin_load(LoadOrder(model=name))).id, PATIENCE_S)
        async with _listened_to(desk) as url:
            yield url


@asynccontextmanager
async def _listened_to(desk: Desk) -> AsyncIterator[str]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app_of(desk), http=connection_class(), log_level="error", lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not server.started:
                await asyncio.sleep(0.001)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        desk.history.close()
        server.should_exit = True
        await running


@asynccontextmanager
async def listening(
    url: str, path: str = "/events", **headers: str
) -> AsyncIterator[AsyncIterator[Event]]:
    """A listener's events, as (id, JSON)."""
    asked = {"Accept": "text/event-stream", **headers}
    timeout = httpx.Timeout(PATIENCE_S)
    async with (
        httpx.AsyncClient(timeout=timeout) as client,
        client.stream("GET", url + path, headers=asked) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events_in(answer)


async def events_in(answer: httpx.Response) -> AsyncIterator[Event]:
    event_id = None
    async for line in answer.aiter_lines():
        if line.startswith("id: "):
            event_id = line[4:]
        elif line.startswith("data: "):
            yield event_id, json.loads(line[6:])
            event_id = None


async def until(events: AsyncIterator[Event], wanted: str) -> list[Event]:
    """Events up to the first one of the wanted type."""
    heard = []
    async with asyncio.timeout(PATIENCE_S):
        async for event_id, event in events:
            heard.append((event_id, event))
            if event.get("type") == wanted:
                return heard
    raise AssertionError(f"the stream ended without {wanted}")
