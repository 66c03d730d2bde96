"""Not for every web page (R16): who may ask, decided before anything is read.

A browser reaches loopback and the LAN too, and carries other people's pages. The guard looks at
`Host`, `Origin`, `Sec-Fetch-Site`, `Content-Type` and the size of the body, on every route, by
`scope["path"]` and headers alone: `request.url` is made of what the caller claims.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, clip, respond

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})
# A name as DNS and compose allow it, with an underscore because compose does.
HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
ORDER_BYTES_MAX = 1 << 20  # an order is a few hundred bytes; a whole model entry a few thousand
RELAYED = ("/v1/", "/upstream/")  # bodies meant for a model server: pictures, long texts
PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whom the operator lets in, and how much they may send."""

    allowed_hosts: frozenset[str] = field(default_factory=frozenset)  # lower case, no port
    allowed_origins: frozenset[str] = field(default_factory=frozenset)  # lower case
    relayed_bytes_max: int = 32 << 20


class Guard:
    """Middleware round the whole application; `admission` is asked anew for every request."""

    def __init__(self, app: ASGIApp, admission: Callable[[], Admission]) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        admission = self._admission()
        error = judge(scope, admission)
        if error is not None:
            await respond(error, scope)(scope, receive, send)
            return
        await self._app(scope, _counted(receive, body_bytes_max(scope, admission)), send)


def judge(scope: Scope, admission: Admission) -> ErrorAnswer | None:
    """The reason to turn this request away, or None."""
    headers = scope["headers"]
    hosts = _values(headers, b"host")
    error = _judge_host(hosts, admission) or _judge_length(
        headers, body_bytes_max(scope, admission)
    )
    if error is not None or scope["method"] in READING_METHODS:
        return error
    own = f"{scope['scheme']}://{hosts[0]}".lower()
    return _judge_origin(headers, own, admission) or _judge_type(headers)


def body_bytes_max(scope: Scope, admission: Admission) -> int:
    relayed = scope["path"].startswith(RELAYED)
    limit = admission.relayed_bytes_max
    return limit if relayed else min(limit, ORDER_BYTES_MAX)


def host_name(host: str) -> str | None:
    """The name in a Host header, without its port; None if it is not well formed."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        well_formed = bool(bracket) and _is_address(name) and (not port or port[0] == ":")
        port = port[1:]
    else:
        name, _, port = host.partition(":")
        well_formed = HOST_NAME.fullmatch(name.lower()) is not None
    if not well_formed or (port and not PORT.fullmatch(port)):
        return None
    return name.lower()


def host_allowed(name: str, allowed_hosts: frozenset[str]) -> bool:
    """Names that no public DNS can give to a foreign page, and those the operator lists."""
    if name in allowed_hosts or name == "localhost" or name.endswith((".localhost", ".local")):
        return True
    return _is_address(name) or "." not in name


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _judge_host(hosts: list[str], admission: Admission) -> ErrorAnswer | None:
    host = hosts[0] if len(hosts) == 1 else ""
    name = host_name(host)
    if name and host_allowed(name, admission.allowed_hosts):
        return None
    told = f"'{clip(host)}'" if host else "missing, empty or given twice"
    return ErrorAnswer(
        code=WebCode.BAD_HOST,
        detail=f"The Host header is {told}, and this daemon does not answer to that name.",
        remedy=f"If the name is yours, add it: server.allowed_hosts: [{clip(name)}]"
        if name
        else "Send the name or address that you connect to as Host.",
    )


def _judge_length(headers: list[tuple[bytes, bytes]], limit: int) -> ErrorAnswer | None:
    for length in _values(headers, b"content-length"):
        if not length.isdecimal() or len(length) > 18 or int(length) > limit:
            return _too_large(limit)
    return None


def _judge_origin(
    headers: list[tuple[bytes, bytes]], own: str, admission: Admission
) -> ErrorAnswer | None:
    for origin in _values(headers, b"origin"):
        if origin.lower() != own and origin.lower() not in admission.allowed_origins:
            return ErrorAnswer(
                code=WebCode.BAD_ORIGIN,
                detail=f"A page of {clip(origin)} may not change anything here.",
                remedy="If it is your own edge or page, add it: "
                f"server.allowed_origins: ['{clip(origin)}']",
            )
    for site in _values(headers, b"sec-fetch-site"):
        if site.lower() not in OWN_SITES:
            return ErrorAnswer(
                code=WebCode.BAD_ORIGIN,
                detail=f"A page of another origin ({clip(site)}) may not change anything here.",
                remedy="Send the request from a page of this daemon, or from a program.",
            )
    return None


def _judge_type(headers: list[tuple[bytes, bytes]]) -> ErrorAnswer | None:
    types = _values(headers, b"content-type")
    chunked = bool(_values(headers, b"transfer-encoding"))
    empty = not chunked and all(n == "0" for n in _values(headers, b"content-length"))
    if not types and empty:
        return None
    names = [value.partition(";")[0].strip(" \t").lower() for value in types]
    if names == ["application/json"]:
        return None
    return ErrorAnswer(
        code=WebCode.NOT_JSON,
        detail=f"The body is {clip(types[0]) if types else 'of no stated type'}, "
        "not application/json.",
        remedy="Add the header Content-Type: application/json (curl -d sends something else: "
        "use curl --json, or -H 'Content-Type: application/json').",
    )


def _too_large(body_bytes_max: int) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.TOO_LARGE,
        detail=f"The body is larger than {body_bytes_max} bytes.",
        remedy="Send less; a longer body is no use to any route of this daemon.",
        members={"limit_bytes": body_bytes_max},
    )


def _counted(receive: Receive, body_bytes_max: int) -> Receive:
    """A body without a declared length is cut off where the limit is passed."""
    received = 0

    async def receive_counted() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > body_bytes_max:
                raise Answered(_too_large(body_bytes_max))
        return message

    return receive_counted


def _values(headers: list[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    """As text, without the space that HTTP allows around a value: no other white space is empty."""
    return [value.strip(b" \t").decode("latin-1") for name, value in headers if name == wanted]
