"""Wakes waiters as soon as a container changes: a thread that listens to Docker's event stream.

An event is a reason to look, never the truth itself: streams break, and a Docker that restarts
does not mention what died with it. So waiters are also woken whenever the stream breaks or comes
back, and inspect the container now and then in between.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from orchestrator.errors import Failed
from orchestrator.runtimes.docker.answers import ContainerEvent
from orchestrator.runtimes.docker.engine import DockerEvents

log = logging.getLogger(__name__)

RECONNECT_S = 0.5  # between attempts while the engine is gone
POLL_S_LISTENING = 30.0  # a stream that hangs without breaking must not hide a death for ever
POLL_S_DEAF = 1.0  # while there is no stream
SETTLE_S = 0.1  # after an event, until the inspection agrees with it


class Watch:
    """One waiter's view of one container."""

    def __init__(self, container: str) -> None:
        self.container = container
        self.died = False  # as an event said
        self.exit_code: int | None = None
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def pause(self, poll_s: float) -> bool:
        """Return when it is time to look again; True if an event is the reason."""
        with suppress(TimeoutError):
            async with asyncio.timeout(poll_s):
                await self._woken.wait()
        woken = self._woken.is_set()
        self._woken.clear()
        return woken


class EventListener:
    def __init__(self, open_stream: Callable[[], DockerEvents]) -> None:
        self._open_stream = open_stream
        self._watches: set[Watch] = set()
        self._listening = False
        self._closed = threading.Event()
        self._stream: DockerEvents | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stirred = asyncio.Event()
        self._starts = 0

    @property
    def poll_s(self) -> float:
        return POLL_S_LISTENING if self._listening else POLL_S_DEAF

    @property
    def starts(self) -> int:
        """Grows with every start, and whenever one may have been missed."""
        self._ensure_listening()
        return self._starts

    @contextmanager
    def watch(self, container: str) -> Iterator[Watch]:
        """While the block runs, events about `container` (id or name) wake its watch."""
        self._ensure_listening()
        watch = Watch(container)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    async def stirred(self) -> None:
        """Return when a container was started, or may have been while there was no stream."""
        self._ensure_listening()
        await self._stirred.wait()
        self._stirred.clear()

    def close(self) -> None:
        self._closed.set()
        stream = self._stream
        if stream is not None:
            stream.close()

    def _ensure_listening(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            # A daemon thread: it may block for as long as the engine hangs.
            threading.Thread(target=self._listen, name="docker-events", daemon=True).start()

    def _listen(self) -> None:
        while not self._closed.is_set():
            with self._tried_again():
                self._stream = self._open_stream()
                if self._closed.is_set():  # there was no stream yet when `close` looked
                    self._stream.close()
                self._tell(partial(self._set_listening, True))
                for event in self._stream:
                    self._tell(partial(self._notice, event))
            self._stream = None
            self._tell(partial(self._set_listening, False))
            self._closed.wait(RECONNECT_S)

    @contextmanager
    def _tried_again(self) -> Iterator[None]:
        """The engine is gone, or does not let us listen. Mistakes of ours end no thread either."""
        try:
            yield
        except Failed:
            return
        except Exception:
            log.exception("listening to Docker broke off")

    def _tell(self, do: Callable[[], None]) -> None:
        loop = self._loop
        assert loop is not None
        with suppress(RuntimeError):  # the loop is closed: the daemon ends
            loop.call_soon_threadsafe(do)

    def _set_listening(self, listening: bool) -> None:
        self._listening = listening
        self._stir()
        for watch in self._watches:
            watch.wake()

    def _stir(self) -> None:
        self._starts += 1
        self._stirred.set()

    def _notice(self, event: ContainerEvent) -> None:
        if event.action == "start":
            self._stir()
        for watch in self._watches:
            if watch.container in (event.container, event.name):
                if event.action == "die":
                    watch.died, watch.exit_code = True, event.exit_code
                watch.wake()
