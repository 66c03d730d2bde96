"""Where servers are, as nginx can be told: it asks no name server for them."""

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

RESOLVED_S = 30.0  # so long an address is believed: containers come back with others
RESOLVE_S_MAX = 0.5
PORT_DEFAULT = 80


@dataclass(frozen=True, slots=True)
class Address:
    host: str  # a literal, with brackets where it is IPv6
    port: int


class Addresses:
    """Of the servers behind routes, by the names in their URLs.

    A route that is opened anew is looked up anew: the address that a container had before may be
    another one's by then.
    """

    def __init__(self) -> None:
        self._found: dict[int, tuple[Address | None, float]] = {}  # by the route's number

    async def of(self, number: int, url: str) -> Address | None:
        """None where nginx cannot go as the relay does: only by plain HTTP, to a known address."""
        now_s = asyncio.get_running_loop().time()
        found = self._found.get(number)
        if found is not None and found[1] > now_s:
            return found[0]
        address = await _resolved(url)
        self._found[number] = address, now_s + RESOLVED_S
        return address

    def keep(self, numbers: Collection[int]) -> None:
        """Forget those of other routes."""
        self._found = {each: found for each, found in self._found.items() if each in numbers}


def literal(url: str) -> Address | str | None:
    """The address in a URL, or the name that leads to it; None: it is not one for nginx."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.path.strip("/") or parts.query or not parts.hostname:
        return None
    port = parts.port or PORT_DEFAULT
    try:
        ip = ipaddress.ip_address(parts.hostname)
    except ValueError:
        return parts.hostname
    return Address(f"[{ip}]" if ip.version == 6 else str(ip), port)


async def _resolved(url: str) -> Address | None:
    found = literal(url)
    if not isinstance(found, str):
        return found
    port = urlsplit(url).port or PORT_DEFAULT
    with suppress(OSError, TimeoutError, UnicodeError):
        async with asyncio.timeout(RESOLVE_S_MAX):
            infos = await asyncio.get_running_loop().getaddrinfo(
                found, port, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
        return Address(str(infos[0][4][0]), port)
    return None
