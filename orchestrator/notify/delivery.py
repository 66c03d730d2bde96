"""Posts to addresses of the operator's: signed, tried again within a bound, never waited for."""

import asyncio
import hashlib
import hmac
import logging
import os
import secrets
import tempfile
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from pydantic_core import to_json

from orchestrator.ports import Clock
from orchestrator.wall import WALL

log = logging.getLogger("orchestrator")

ANSWER_S = 10.0  # of one try; a receiver that works longer should answer first
PAUSES_S = (1.0, 5.0, 25.0, 125.0)  # between tries: about three minutes, a restart of a receiver
PENDING_MAX = 200  # more under way at once are let go, and said
SECRET_FILE = "webhook-secret"  # noqa: S105 - its name
SIGNATURE, DELIVERY = "X-Orchestrator-Signature", "X-Orchestrator-Delivery"


def secret_in(state_dir: Path) -> bytes:
    """The key of all signatures, made when it is first asked for. Raise OSError.

    It is there whole or not at all, whenever the daemon ends.
    """
    path = state_dir / SECRET_FILE
    if not path.exists():
        descriptor, made = tempfile.mkstemp(dir=state_dir, prefix=f"{SECRET_FILE}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32) + "\n")
            with suppress(FileExistsError):
                os.link(made, path)
        finally:
            Path(made).unlink()
    return path.read_text().strip().encode()


def host_of(url: str) -> str:
    """What may be said of an address: its path and query are often a secret of the receiver's."""
    try:
        at = urlsplit(url)
        return f"{at.scheme}://{at.hostname}" + (f":{at.port}" if at.port else "")
    except ValueError:
        return "an address that is none"


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """Of the instant and the body: an old one sent again has an old instant."""
    digest = hmac.new(secret, b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


@dataclass(frozen=True, slots=True)
class Post:
    url: str
    body: bytes
    id: str  # the same with each try


class Deliveries:
    """Belongs to one event loop."""

    def __init__(
        self,
        secret: Callable[[], bytes],
        clock: Clock,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._pauses_s = pauses_s
        self._under_way: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def send(self, url: str, said: Mapping[str, Any]) -> None:
        """Soon, in its own time. Never raises: what cannot be delivered is said in the log."""
        if len(self._under_way) >= PENDING_MAX:
            log.warning("%s is not told: %d posts are under way", host_of(url), PENDING_MAX)
            return
        post = Post(url, to_json(said), uuid.uuid4().hex)
        task = asyncio.get_running_loop().create_task(
            self._deliver(post), name=f"tell {host_of(url)}"
        )
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _deliver(self, post: Post) -> None:
        problem = ""
        for pause_s in (*self._pauses_s, None):
            problem = await self._try(post)
            if not problem:
                return
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        host = host_of(post.url)
        log.warning("%s was not told: %s; tried %d times", host, problem, self.tries)

    @property
    def tries(self) -> int:
        return len(self._pauses_s) + 1

    async def _try(self, post: Post) -> str:
        """What was in the way; empty: it was taken."""
        try:
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "vram-orchestrator",
                DELIVERY: post.id,
                SIGNATURE: signature(self._secret(), int(WALL.told(self._clock())), post.body),
            }
            async with self._http().post(
                post.url, data=post.body, headers=headers, allow_redirects=False
            ) as answer:
                return "" if 200 <= answer.status < 300 else f"it answered {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return (str(error) or type(error).__name__).replace(post.url, host_of(post.url))

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWER_S), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def close(self) -> None:
        """What is under way is given up."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
