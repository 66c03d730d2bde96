"""Not for every web page (R16): who may ask, decided before anything is read.

A browser reaches loopback and the LAN too, and carries other people's pages. The guard looks at
`Host`, `Origin`, `Sec-Fetch-Site`, `Content-Type` and the size of the body, on every route, by
`scope["path"]` and headers alone: `request.url` is made of what the caller claims. Then the gate
looks at the caller's key.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.web.gate import Gate, Rule
from orchestrator.web.wire.error_answers import (
    Answered,
    ErrorAnswer,
    WebCode,
    clip,
    error_of_access,
    respond,
)

READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = frozenset({"same-origin", "none"})
# Orders that only say what would be, and logins: a page that may change nothing may send them too.
OF_EVERY_PAGE = frozenset({"/models/plan", "/models/estimate", "/session"})
# A name as DNS and compose allow it, with an underscore because compose does.
HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
ORDER_BYTES_MAX = 1 << 20  # an order is a few hundred bytes; a whole model entry a few thousand
JSON_ALONE = frozenset({"application/json"})
PORT = re.compile(r"[0-9]{1,5}")
HOST_CHARS_MAX = 260  # the longest name of DNS, with a port
HOSTS_KEPT_MAX = 256  # that callers have sent lately
JUDGED = frozenset(
    {
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"content-type",
        b"content-length",
        b"transfer-encoding",
    }
)

Said = dict[bytes, list[str]]  # what a request says in the headers that are judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whom the operator lets in, and how much they may send."""

    allowed_hosts: frozenset[str] = field(default_factory=frozenset)  # lower case, no port
    allowed_origins: frozenset[str] = field(default_factory=frozenset)  # lower case
    own_pages: bool = True  # whether pages of this daemon may change anything
    relayed_bytes_max: int = 32 << 20
    held_bytes_max: int = 512 << 20  # of the bodies of all requests together


class Guard:
    """Middleware round the whole application; `admission` is asked anew for every request."""

    def __init__(
        self,
        app: ASGIApp,
        admission: Callable[[], Admission],
        exists: Callable[[str], bool],
        gate: Gate,
        rule_for: Callable[[str, str], Rule],
    ) -> None:
        """`exists` knows the paths: of one that is not there, the type of a body is no matter.
        `rule_for` knows what a method at a path asks of its caller.
        """
        self._app = app
        self._admission = admission
        self._exists = exists
        self._gate = gate
        self._rule_for = rule_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        admission = self._admission()
        bytes_max = min(admission.relayed_bytes_max, ORDER_BYTES_MAX)
        types = JSON_ALONE if self._exists(scope["path"]) else None
        error = judge(scope, admission, bytes_max, types)
        if error is not None:
            await respond(error, scope)(scope, receive, send)
            return
        rule = self._rule_for(scope["method"], scope["path"])
        if (refused := await self._gate.admit(scope, rule)) is not None:
            await respond(error_of_access(refused), scope)(scope, receive, send)
            return
        await self._app(scope, counted(receive, bytes_max), send)


def judge(
    scope: Scope,
    admission: Admission,
    bytes_max: int,
    types: frozenset[str] | None = JSON_ALONE,
) -> ErrorAnswer | None:
    """The reason to turn this request away, or None. `types` are those that its body may have;
    None: any.
    """
    said = _judged_headers(scope["headers"])
    hosts = said.get(b"host", [])
    error = _judge_host(hosts, admission) or _judge_length(said, bytes_max)
    if error is not None or scope["method"] in READING_METHODS:
        return error
    own = f"{scope['scheme']}://{hosts[0]}".lower()
    error = _judge_origin(said, own, admission)
    if error is None and not admission.own_pages and scope["path"] not in OF_EVERY_PAGE:
        error = _judge_own_page(said, own)
    return error if error is not None or types is None else _judge_type(said, types)


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
    if len(host) <= HOST_CHARS_MAX and _answers_to(host, admission.allowed_hosts):
        return None
    name = host_name(host)
    told = f"'{clip(host)}'" if host else "missing, empty or given twice"
    return ErrorAnswer(
        code=WebCode.BAD_HOST,
        detail=f"The Host header is {told}, and this daemon does not answer to that name.",
        remedy=f"If the name is yours, add it: server.allowed_hosts: [{clip(name)}]"
        if name
        else "Send the name or address that you connect to as Host.",
    )


@lru_cache(maxsize=HOSTS_KEPT_MAX)
def _answers_to(host: str, allowed_hosts: frozenset[str]) -> bool:
    """Remembered: most callers of a daemon call it by the same few names."""
    name = host_name(host)
    return name is not None and host_allowed(name, allowed_hosts)


def _judge_length(said: Said, limit: int) -> ErrorAnswer | None:
    for length in said.get(b"content-length", ()):
        if not length.isdecimal() or len(length) > 18 or int(length) > limit:
            return _too_large(limit)
    return None


def _judge_origin(said: Said, own: str, admission: Admission) -> ErrorAnswer | None:
    for origin in said.get(b"origin", ()):
        if origin.lower() != own and origin.lower() not in admission.allowed_origins:
            return ErrorAnswer(
                code=WebCode.BAD_ORIGIN,
                detail=f"A page of {clip(origin)} may not change anything here.",
                remedy="If it is your own edge or page, add it: "
                f"server.allowed_origins: ['{clip(origin)}']",
            )
    for site in said.get(b"sec-fetch-site", ()):
        if site.lower() not in OWN_SITES:
            return ErrorAnswer(
                code=WebCode.BAD_ORIGIN,
                detail=f"A page of another origin ({clip(site)}) may not change anything here.",
                remedy="Send the request from a page of this daemon, or from a program.",
            )
    return None


def _judge_own_page(said: Said, own: str) -> ErrorAnswer | None:
    """A browser says one of both; a program neither."""
    of_ours = own in (origin.lower() for origin in said.get(b"origin", ()))
    if not of_ours and b"sec-fetch-site" not in said:
        return None
    return ErrorAnswer(
        code=WebCode.READ_ONLY,
        detail="Pages of this daemon may only look (server.dashboard: read_only).",
        remedy="Use the command line or the API, or set server.dashboard: full.",
    )


def _judge_type(said: Said, allowed: frozenset[str]) -> ErrorAnswer | None:
    types = said.get(b"content-type", [])
    chunked = b"transfer-encoding" in said
    empty = not chunked and all(n == "0" for n in said.get(b"content-length", ()))
    if not types and empty:
        return None
    names = [value.partition(";")[0].strip(" \t").lower() for value in types]
    if len(names) == 1 and names[0] in allowed:
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


def counted(receive: Receive, body_bytes_max: int) -> Receive:
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


def _judged_headers(headers: list[tuple[bytes, bytes]]) -> Said:
    """As text, without the space that HTTP allows around a value: no other white space is empty."""
    said: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name in JUDGED:
            said.setdefault(name, []).append(value.strip(b" \t").decode("latin-1"))
    return said
