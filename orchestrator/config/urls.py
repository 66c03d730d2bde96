"""Addresses that no model server and no listener has: where clouds keep secrets, and no place.

What the operator writes is believed otherwise: a server on loopback or in the LAN is the usual one.
Names are not looked up: what they lead to may be another place when it is asked.
"""

import ipaddress
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from orchestrator.config.sections import Document
from orchestrator.config.yaml_lines import KeyPath, Mistake

# Their metadata answers whoever asks on the machine, with its credentials.
OF_CLOUDS = frozenset({"metadata.google.internal", "metadata.goog", "metadata"})


def url_mistakes(document: Document) -> Iterator[Mistake]:
    for where, url in _written(document):
        if (problem := url_problem(url)) is not None:
            yield Mistake(where, problem)


def url_problem(url: str) -> str | None:
    """What is wrong with the place that a URL names; None if nothing is."""
    try:
        host = urlsplit(url).hostname or ""
        _ = urlsplit(url).port
    except ValueError:
        return "is no URL"
    if host.rstrip(".") in OF_CLOUDS:
        return f"{host} is where clouds keep credentials, and no server of yours"
    address = _address(host)
    if address is None:
        return None
    if address.is_link_local:
        return f"{host} is link-local, where clouds keep credentials, and no server of yours"
    if address.is_unspecified or address.is_multicast:
        return f"{host} is no address of one machine"
    return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Also of the odd forms in which the C library takes one of IPv4: 2852039166, 0xa9.254.1."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return mapped or address
    with suppress(ValueError, OverflowError):
        *firsts, last = (int(part, _base(part)) for part in host.split("."))
        if len(firsts) < 4 and all(0 <= first < 256 for first in firsts):
            ahead = sum(first << (24 - 8 * index) for index, first in enumerate(firsts))
            return ipaddress.IPv4Address(ahead + last)
    return None


def _base(part: str) -> int:
    if part.lower().startswith("0x"):
        return 16
    return 8 if part.startswith("0") and len(part) > 1 else 10


def _written(document: Document) -> Iterator[tuple[KeyPath, str]]:
    for name, service in document.services.items():
        if service.url is not None:
            yield ("services", name, "url"), service.url
    for name, model in document.models.items():
        if model.url is not None:
            yield ("models", name, "url"), model.url
    for index, url in enumerate(document.webhooks.urls):
        yield ("webhooks", "urls", index), url
    for index, url in enumerate(document.webhooks.callback_urls):
        yield ("webhooks", "callback_urls", index), url
