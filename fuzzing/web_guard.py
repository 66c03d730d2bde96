"""A request of anybody's page: turned away in words, or as harmless as R16 wants it."""

import ipaddress
import json

from starlette.types import Scope

from fuzzing.mutations import Target
from orchestrator.web.guard import ORDER_BYTES_MAX, READING_METHODS, Admission, judge
from orchestrator.web.wire.error_answers import respond

ADMISSION = Admission(
    allowed_hosts=frozenset({"orchestrator.lan"}),
    allowed_origins=frozenset({"https://dash.lan"}),
)
OPTIONAL_SPACE = b" \t"  # what HTTP allows around a value, and nothing else
HEADERS_MAX = 100  # as many as the server underneath lets through, roughly


def check(content: bytes) -> None:
    """The first line is METHOD and path, the others are headers, as they come to an application."""
    scope = _scope(content)
    error = judge(scope, ADMISSION, ORDER_BYTES_MAX)
    if error is not None:
        answer = respond(error, scope)
        assert 400 <= answer.status_code < 500
        assert json.loads(bytes(answer.body))["detail"] == error.detail
        assert error.remedy, "turned away without a way out"
        return
    (host,) = _all(scope, b"host")
    _check_host(host)
    if scope["method"] not in READING_METHODS:
        _check_write(scope, host)


def _check_host(host: bytes) -> None:
    """No name that a public DNS can give to a page gets in."""
    name = host.decode("latin-1").lower()
    if name.startswith("["):
        ipaddress.IPv6Address(name[1:].partition("]")[0])
        return
    name = name.partition(":")[0]
    if "." in name and name != "orchestrator.lan" and not name.endswith((".localhost", ".local")):
        ipaddress.IPv4Address(name)


def _check_write(scope: Scope, host: bytes) -> None:
    own = {b"http://" + host.lower(), b"https://dash.lan"}
    assert all(each.lower() in own for each in _all(scope, b"origin"))
    sites = {b"same-origin", b"none"}
    assert all(each.lower() in sites for each in _all(scope, b"sec-fetch-site"))
    types = _all(scope, b"content-type")
    lengths = _all(scope, b"content-length")
    bodyless = not _all(scope, b"transfer-encoding") and all(each == b"0" for each in lengths)
    if types or not bodyless:
        (kind,) = types
        assert kind.partition(b";")[0].strip().lower() == b"application/json"


def _all(scope: Scope, wanted: bytes) -> list[bytes]:
    return [value.strip(OPTIONAL_SPACE) for name, value in scope["headers"] if name == wanted]


def _scope(content: bytes) -> Scope:
    first, *others = content.split(b"\n")[: HEADERS_MAX + 1]
    method, _, path = first.decode("latin-1").partition(" ")
    split = (line.partition(b":") for line in others)
    headers = [(name.strip().lower(), value.strip(b" \t\r")) for name, _, value in split]
    return {
        "type": "http",
        "scheme": "http",
        "method": method.strip().upper(),
        "path": path,
        "headers": headers,
    }


TARGET = Target(
    check,
    seeds=(
        b"GET /models/status\nHost: localhost:8000",
        b"POST /models/load\nHost: 127.0.0.1\nContent-Type: application/json\nContent-Length: 20",
        (
            b"POST /models/load\nHost: [::1]:8000\nOrigin: http://[::1]:8000\n"
            b"Sec-Fetch-Site: same-origin\nContent-Type: application/json; charset=utf-8"
        ),
        b"DELETE /leases/1\nHost: orchestrator.lan\nOrigin: https://dash.lan",
        (
            b"POST /admin/reload\nHost: a.local\nTransfer-Encoding: chunked\n"
            b"Content-Type: application/json"
        ),
        (
            b"PUT /models/a\nHost: evil.example\nOrigin: null\nSec-Fetch-Site: cross-site\n"
            b"Content-Type: text/plain"
        ),
        (
            b"POST /v1/chat/completions\nHost: n8n\nContent-Type: application/json\n"
            b"Accept: application/problem+json\nContent-Length: 99999999999"
        ),
    ),
    words=(
        b"\nHost: ",
        b"\nOrigin: ",
        b"\nContent-Type: ",
        b"\nContent-Length: 0",
        b"\nSec-Fetch-Site: none",
        b"evil.example",
        b".localhost",
        b"127.0.0.1",
        b"[::1]",
        b"[::ffff:127.0.0.1%eth0]",
        b"http://",
        b":8000",
        b"\xb2",
    ),
)
