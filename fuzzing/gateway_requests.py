"""What callers might send to the gateway: requests of every protocol, bent out of shape. Pure.

From one seed come the same plays. A play is one connection: what is sent on it, in which pieces,
how long its caller listens, and how it leaves.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fuzzing.gateway_bodies import BENT, BODIES, BOUNDARY, form, json_of
from fuzzing.mutations import mutate

REQUESTS_MAX = 4  # on one connection
PAUSES_S = (0.0, 0.0, 0.0, 0.001, 0.02, 0.2)
LISTENS_S = (0.0, 0.0, 0.01, 0.05, 0.1, 0.5, 2.0)
PIECES_MAX = 4


class Leaving(StrEnum):
    CLOSES = "closes"
    RESETS = "resets"
    HALF_CLOSES = "half-closes"  # says that it sends no more, and listens on


@dataclass(frozen=True, slots=True)
class Play:
    pieces: tuple[tuple[bytes, float], ...]  # and how long its caller pauses after each
    listens_s: float
    leaving: Leaving


def plays(names: tuple[str, ...], draw: random.Random) -> Iterator[Play]:
    """Without an end. `names` are those that mean something to the daemon."""
    while True:
        count = 1 if draw.random() < 0.8 else draw.randint(2, REQUESTS_MAX)
        sent = b"".join(_request(names, draw) for _ in range(count))
        if draw.random() < 0.15:
            sent = sent[: draw.randint(0, len(sent))]
        yield Play(tuple(_pieces(sent, draw)), draw.choice(LISTENS_S), draw.choice(list(Leaving)))


def _pieces(sent: bytes, draw: random.Random) -> Iterator[tuple[bytes, float]]:
    count = 1 if draw.random() < 0.6 else draw.randint(2, PIECES_MAX)
    cuts = sorted(draw.randint(0, len(sent)) for _ in range(count - 1))
    for begin, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        yield sent[begin:end], draw.choice(PAUSES_S)


# --- one request -----------------------------------------------------------------------------

_ODD_NAMES = (
    *("", "nothing", "task:quick", "task:", "a:latest", "A", "x" * 600, "a/b", "\u0000", "ü"),
    *("../a", "a\r\nX-Evil: 1", "::", "default"),
)
_FLOURISHES = (
    *("?", "?model=a", "?model=%ff%00", "#top", "/", "//", "/..", "%00", "?a=b%0d%0aX:1", ";x"),
    *("%0d%0aX-Evil:%201%0d%0a", "%20HTTP/1.1", "?" + "y" * 300, "%zz", "%", " x", "%2e%2e%2f"),
    *("?conv_id=chat-1&from=99999999999999999999", "?model=mortal&model="),
)
_GETS = (
    *("/props?model=NAME", "/slots?model=NAME", "/lora-adapters?model=NAME", "/v1/stream", "/"),
    *("/v1/stream/chat-1", "/v1/stream?conv_id=chat-1", "/v1/responses/resp_1", "/api/tags"),
    *("/v1/responses/resp_1/input_items", "/api/ps", "/api/version", "/upstream/NAME/slots"),
    *("/upstream/NAME", "/upstream//", "/v1/realtime?model=NAME", "/v1/models", "/v1/models/NAME"),
)
_BEHIND = ("/v1/chat/completions", "/health", "/talk", "/a%2fb", "/", "//x", "")
_FORMS = ("/v1/audio/transcriptions", "/v1/images/edits", "/v1/audio/translations")


def _request(names: tuple[str, ...], draw: random.Random) -> bytes:
    name = draw.choice(names) if draw.random() < 0.85 else draw.choice(_ODD_NAMES)
    method, path, kind, body = _filled(name, draw)
    if draw.random() < 0.2:
        path += draw.choice(_FLOURISHES)
    if draw.random() < 0.05:
        method = draw.choice(("GET", "HEAD", "PUT", "OPTIONS", "TRACE", "CONNECT", "BREW", "post"))
    headers = [("Host", "127.0.0.1"), *_more_headers(draw)]
    if kind and draw.random() < 0.95:
        headers.append(("Content-Type", kind))
    framed, framing = _framed(body, draw)
    lines = [f"{method} {path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers), *framing]
    sent = "\r\n".join((*lines, "", "")).encode("latin-1", "replace") + framed
    return mutate(sent, BENT, draw) if draw.random() < 0.1 else sent


def _filled(name: str, draw: random.Random) -> tuple[str, str, str, bytes]:
    """Method, path, type and body of a request for a model."""
    chance = draw.random()
    if chance < 0.08:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return "POST", draw.choice(_FORMS), kind, form(name, draw)
    if chance < 0.2:
        path = draw.choice(_GETS).replace("NAME", name)
        return draw.choice(("GET", "GET", "HEAD", "DELETE")), path, "", b""
    if chance < 0.3:
        method = draw.choice(("GET", "POST", "PUT", "PATCH"))
        path = f"/upstream/{name}{draw.choice(_BEHIND)}"
        blob = draw.randbytes(draw.choice((0, 10, 5000, 200_000)))
        return method, path, "application/octet-stream", blob
    path = draw.choice([*BODIES])
    order = {"model": name, **BODIES[path](draw)}
    return "POST", path, "application/json", json_of(order, draw)


def _more_headers(draw: random.Random) -> Iterator[tuple[str, str]]:
    for key, values in _HEADERS.items():
        if draw.random() < 0.03:
            yield key, draw.choice(values)
    if draw.random() < 0.05:
        yield from (("Connection", "Upgrade"), ("Upgrade", draw.choice(("websocket", "h2c"))))
        yield from (
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        )
    if draw.random() < 0.2:
        yield "X-Deadline-Seconds", draw.choice(("0", "0.05", "1", "-1", "nan", "1e999", "x"))


_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Host": ("evil.example", "127.0.0.1", "", "[::1]:99999", "a:b:c", "\xff"),
    "Content-Type": (
        "text/plain",
        "application/json; charset=utf-16",
        "multipart/form-data",
        "\xfc",
    ),
    "Origin": ("http://evil.example", "null", "http://127.0.0.1"),
    "Connection": ("close", "keep-alive", "upgrade", "x, close"),
    "Expect": ("100-continue", "200-ok"),
    "X-Priority": ("7", "-99999", "1e3", "٣", "9" * 5000, ""),
    "X-Owner": ("me", "x" * 300, "ü\x7f", "\xff\xfe"),
    "X-Conversation-Id": ("chat-1", "chat-1::a", "::", "x" * 2000, "\xff"),
    "Accept": ("text/html", "text/event-stream", "*/*;q=x"),
    "Accept-Encoding": ("gzip", "br, zstd", "identity;q=0"),
    "Content-Encoding": ("gzip", "deflate"),
    "Transfer-Encoding": ("gzip", "chunked, chunked", "identity"),
    "Cookie": ("a=b", "=" * 100),
    "X-Long": ("y" * 20_000, "y" * 70_000),
    "X-Folded": ("a\r\n b", "a\r\n\tb: c"),
    "X-Odd": ("\x01\x02", "\x80\x9f", "a\x00b", ""),
}


def _framed(body: bytes, draw: random.Random) -> tuple[bytes, list[str]]:
    """The body as it goes over the wire, and the headers that say how."""
    match draw.randrange(12):
        case 0 | 1:
            return _chunked(body, draw), ["Transfer-Encoding: chunked"]
        case 2:
            odd = draw.choice(("-1", "+5", "0x10", "9" * 30, "", "1 2", str(len(body) + 7)))
            return body, [f"Content-Length: {odd}"]
        case 3 if draw.random() < 0.3:
            return _chunked(body, draw), ["Transfer-Encoding: chunked", "Content-Length: 3"]
        case 4 if draw.random() < 0.3:
            return body, [f"Content-Length: {len(body)}"] * 2
        case _:
            return body, [f"Content-Length: {len(body)}"] if body or draw.random() < 0.5 else []


def _chunked(body: bytes, draw: random.Random) -> bytes:
    sent, at = bytearray(), 0
    while at < len(body):
        chunk = body[at : at + draw.choice((1, 7, 100, 5000, 70_000))]
        size = draw.choice(("", "", "", "", "0000", "f" * 17, "-", ";x=y"))
        tail = size if size.startswith(";") else ""
        sent += f"{size.removesuffix(tail)}{len(chunk):x}{tail}\r\n".encode() + chunk + b"\r\n"
        at += len(chunk)
    trailer = draw.choice(("", "", "", "X-Trailer: 1\r\n", "Content-Length: 9\r\n", "\x00"))
    return bytes(sent) + f"0\r\n{trailer}\r\n".encode()
