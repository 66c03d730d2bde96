"""Who started the daemon and is told how it fares: systemd, by sd_notify(3).

One datagram says one thing. Without such a supervisor, or if it does not listen, nothing happens:
the daemon serves all the same.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

SOCKET, WATCHDOG_US, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
SIGNS_MIN = 3  # of life in the time that the watchdog waits: one or two may come late
STATUS_CHARS_MAX = 200  # of what `systemctl status` shows


@dataclass(frozen=True, slots=True)
class Supervisor:
    address: str | None = None
    watchdog_s: float | None = None  # so long without a sign of life, and the daemon is ended

    @classmethod
    def taken_from(cls, environ: MutableMapping[str, str]) -> Self:
        """What the environment names. It is taken out: what we start is not its business."""
        address = environ.pop(SOCKET, None) or None
        microseconds = environ.pop(WATCHDOG_US, "")
        for_us = environ.pop(WATCHDOG_PID, str(os.getpid())) == str(os.getpid())
        watched = address is not None and for_us and microseconds.isdecimal()
        watchdog_s = int(microseconds) / 1e6 if watched else 0.0
        return cls(address, watchdog_s or None)

    def ready(self, status: str) -> None:
        """The start, or a reload, is over."""
        self._tell("READY=1", f"STATUS={_line(status)}")

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, takes_s: float | None = None) -> None:
        """The end has begun, and takes so long where that is more than usual."""
        more = [] if takes_s is None else [f"EXTEND_TIMEOUT_USEC={round(takes_s * 1e6)}"]
        self._tell("STOPPING=1", *more)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """While the block runs, signs of life come out of the event loop, unless it hangs."""
        if self.watchdog_s is None:
            yield
            return
        living = asyncio.create_task(self._live(self.watchdog_s / SIGNS_MIN), name="watchdog")
        try:
            yield
        finally:
            living.cancel()

    async def _live(self, pause_s: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(pause_s)

    def _tell(self, *said: str) -> None:
        if self.address is None:
            return
        # An address that begins with @ is one without a file.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # a supervisor that does not read stops nobody here
            sender.sendto("\n".join(said).encode(), address)


def _line(text: str) -> str:
    return " ".join(text.split())[:STATUS_CHARS_MAX]
