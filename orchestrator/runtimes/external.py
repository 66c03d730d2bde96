"""Servers that their owner runs: known by their address, asked, never started or stopped.

The launch of such a server names its `url`. The runtime only opens connections and closes them
again: that is no request, so no server counts it as use.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import Endpoint
from orchestrator.errors import StartFailed, Unreachable, limit_reached
from orchestrator.ports import Exit, Found, Handle, Launch, Running
from orchestrator.runtimes.unshared import Unshared

HANDLE_VERSION = 1
CONNECT_TIMEOUT_S = 2.0  # on the same network a server that lives accepts within milliseconds
PROBE_INTERVAL_S = 2.0
PROBES_LOST_MAX = 3  # in a row: a server that its owner restarts is not gone
_PORTS = {"http": 80, "https": 443}


class ExternalRuntime(Unshared):
    name = "external"

    def __init__(self, *, probe_interval_s: float = PROBE_INTERVAL_S) -> None:
        self._probe_interval_s = probe_interval_s

    async def start(self, launch: Launch) -> Running:
        """Nothing is started or asked: whether the server answers is for the engine to find out."""
        if launch.url is None or _address(launch.url) is None:
            raise StartFailed(_no_address(launch))
        fields = {"url": launch.url, "instance": launch.instance}
        handle = Handle(runtime=self.name, version=HANDLE_VERSION, fields=fields)
        return Running(handle=handle, endpoint=Endpoint(launch.url))

    async def stop(self, handle: Handle, *, grace_s: float) -> None:
        """It is not ours to stop. What it holds is given back by the engine's `unload`."""

    async def wait(self, handle: Handle) -> Exit:
        """Return when the server was not reachable for `PROBES_LOST_MAX` looks in a row."""
        url = _url(handle)
        await until_lost(lambda: _answers(url), self._probe_interval_s)
        return Exit(code=None, log_tail=(f"{url} does not accept connections any more",))

    async def alive(self, handle: Handle) -> bool:
        """False if the port is closed. Raise Unreachable if its host does not answer at all."""
        url = _url(handle)
        try:
            await _connect(url)
        except ConnectionError:
            return False
        except OSError as error:  # a timeout, an unknown name, no route
            raise Unreachable(f"{url} does not answer: {error}") from error
        return True

    async def discover(self) -> Sequence[Found]:
        return ()

    async def pids(self, handle: Handle) -> frozenset[int]:  # noqa: ARG002
        return frozenset()

    async def log_tail(self, handle: Handle, lines: int) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    async def log_size(self, handle: Handle) -> int:  # noqa: ARG002 - it has none that we see
        return 0


async def until_lost(look: Callable[[], Awaitable[bool]], interval_s: float) -> None:
    """Return after `PROBES_LOST_MAX` failed looks in a row."""
    lost = 0
    while True:
        lost = 0 if await look() else lost + 1
        if lost == PROBES_LOST_MAX:
            return
        await asyncio.sleep(interval_s)


def _url(handle: Handle) -> str:
    url = handle.fields.get("url")
    if handle.version != HANDLE_VERSION or not isinstance(url, str) or _address(url) is None:
        raise Unreachable(f"not the handle of an external server: version {handle.version}")
    return url


def _address(url: str) -> tuple[str, int] | None:
    """Where to connect; None if the text is no address of a server."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or port is None:
        return None
    return parts.hostname, port


async def _answers(url: str) -> bool:
    """Whether it accepts a connection, as far as is known: if we cannot ask, it may well."""
    try:
        await _connect(url)
    except OSError as error:
        return limit_reached(error)
    return True


async def _connect(url: str) -> None:
    """Raise OSError if no connection can be made."""
    address = _address(url)
    assert address is not None, url
    loop = asyncio.get_running_loop()
    refused = OSError(f"{address[0]} has no address")
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        try:
            found = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # a host name that cannot be one
            raise OSError(f"no such host: {address[0]!r}") from error
        for family, kind, protocol, _, where in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setblocking(False)
                try:
                    await loop.sock_connect(probe, where)
                except OSError as error:
                    refused = error
                else:
                    return
    raise refused


def _no_address(launch: Launch) -> Failure:
    return Failure(
        reason=FailureReason.ARGUMENTS,
        detail=f"{launch.service} has no usable address for {launch.model}: {launch.url!r}.",
        remedy="Give the service a url such as http://host:8188.",
    )
