"""Who is woken, when, and what happens when the stream of events breaks."""

import asyncio
import queue
import time
from collections.abc import Iterator
from typing import Any

from orchestrator.errors import Unreachable
from orchestrator.runtimes.docker.answers import ContainerEvent
from orchestrator.runtimes.docker.events import POLL_S_DEAF, POLL_S_LISTENING, EventListener
from tests.pace import crowd

DIED = ContainerEvent("abc", "vram-x", "die", 3)
BROKEN = None


class Stream:
    """An event stream that says what the test puts into it."""

    def __init__(self) -> None:
        self._said: queue.Queue[ContainerEvent | None] = queue.Queue()

    def say(self, event: ContainerEvent | None) -> None:
        self._said.put(event)

    def __iter__(self) -> Iterator[ContainerEvent]:
        while (event := self._said.get()) is not BROKEN:
            yield event

    def close(self) -> None:
        self.say(BROKEN)


def run(play: Any, streams: list[Stream]) -> None:
    waiting = iter(streams)

    def open_stream() -> Any:
        stream = next(waiting, None)
        if stream is None:
            raise Unreachable("gone")
        return stream

    async def scene() -> None:
        events = EventListener(open_stream)
        try:
            await asyncio.wait_for(play(events), 5)
        finally:
            events.close()

    asyncio.run(scene())


async def until_poll(events: EventListener, poll_s: float) -> None:
    while events.poll_s != poll_s:
        await asyncio.sleep(0.005)


def test_an_event_wakes_the_one_who_watches_that_container() -> None:
    stream = Stream()

    async def play(events: EventListener) -> None:
        with events.watch("abc") as mine, events.watch("other") as others:
            await until_poll(events, POLL_S_LISTENING)
            await mine.pause(0)
            await others.pause(0)
            stream.say(DIED)
            assert await mine.pause(2)
            assert (mine.died, mine.exit_code) == (True, 3)
            assert not await others.pause(0)

    run(play, [stream])


def test_a_container_can_be_watched_by_name() -> None:
    stream = Stream()

    async def play(events: EventListener) -> None:
        with events.watch("vram-x") as watch:
            stream.say(DIED)
            while not watch.died:
                assert await watch.pause(2)

    run(play, [stream])


def test_a_broken_stream_wakes_everybody_and_polling_takes_over() -> None:
    stream = Stream()

    async def play(events: EventListener) -> None:
        with events.watch("abc") as watch:
            await until_poll(events, POLL_S_LISTENING)
            await watch.pause(0)
            stream.say(BROKEN)
            assert await watch.pause(2)
            assert events.poll_s == POLL_S_DEAF
            assert not watch.died

    run(play, [stream])


def test_a_stream_that_comes_back_is_listened_to_again() -> None:
    first, second = Stream(), Stream()

    async def play(events: EventListener) -> None:
        with events.watch("abc") as watch:
            await until_poll(events, POLL_S_LISTENING)
            first.say(BROKEN)
            await until_poll(events, POLL_S_DEAF)
            await until_poll(events, POLL_S_LISTENING)
            second.say(DIED)
            while not watch.died:
                assert await watch.pause(2)

    run(play, [first, second])


def test_nobody_listens_before_somebody_watches() -> None:
    async def play(events: EventListener) -> None:
        assert events.poll_s == POLL_S_DEAF

    begun_s = time.monotonic()
    run(play, [])
    assert time.monotonic() - begun_s < 1 * crowd()


def test_a_start_stirs_who_looks_for_what_others_start() -> None:
    stream = Stream()

    async def play(events: EventListener) -> None:
        await events.stirred()  # the stream has opened: nobody knows what was before
        looking = asyncio.create_task(events.stirred())
        stream.say(DIED)
        await asyncio.sleep(0.05)
        assert not looking.done()
        stream.say(ContainerEvent("abc", "vram-x", "start", None))
        await looking

    run(play, [stream])


def test_a_stream_that_comes_back_stirs_too() -> None:
    first, second = Stream(), Stream()

    async def play(events: EventListener) -> None:
        await events.stirred()
        first.say(BROKEN)
        await events.stirred()
        await until_poll(events, POLL_S_LISTENING)

    run(play, [first, second])
