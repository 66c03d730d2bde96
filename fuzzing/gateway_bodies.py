"""Bodies of requests to the gateway: of every protocol, and bent out of shape. Pure."""

import copy
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fuzzing.mutations import Target, mutate

BOUNDARY = "edge-of-a-part"


def _nothing(_: bytes) -> None:
    """The daemon is what is checked, from outside."""


_SEED = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
)
BENT = Target(
    _nothing,
    seeds=(_SEED, b'{"model":"a","stream":true,"messages":[{"role":"user","content":"x"}]}'),
    words=(
        *(
            b"\r\n\r\n",
            b"\r",
            b"\n",
            b"\x00",
            b'"',
            b"\\",
            b"{",
            b"[",
            b": ",
            b"0\r\n",
            b"HTTP/1.1",
        ),
        *(b"Content-Length: 0\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n"),
        b'"model":"b",',
    ),
)


def _many(draw: random.Random) -> int:
    return draw.choice((1, 2, 16, 16, 200))


def _streams(draw: random.Random) -> bool:
    return draw.random() < 0.5


def _messages(draw: random.Random) -> list[dict[str, Any]]:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = ("hello", "", "x" * 90_000, [{"type": "text", "text": "hello"}], [picture], None)
    said = [{"role": "user", "content": draw.choice(content)}]
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    if draw.random() < 0.2:
        said.append({"role": "assistant", "content": None, "tool_calls": [call]})
        said.append({"role": "tool", "tool_call_id": "1", "content": "rain"})
    return said


def _openai(draw: random.Random) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
    order = {"messages": _messages(draw), "max_tokens": _many(draw), "stream": _streams(draw)}
    return order | ({"tools": [tool]} if draw.random() < 0.2 else {})


def _ollama(draw: random.Random) -> dict[str, Any]:
    picture = ["iVBORw0KGgo="]
    said = [{"role": "user", "content": "hello", "images": draw.choice((None, picture))}]
    options = {
        "num_predict": _many(draw),
        "num_ctx": draw.choice((None, 2048, 8192)),
        "stop": ["x"],
    }
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    return {
        "messages": draw.choice(([], said, said, said)),
        "stream": _streams(draw),
        "options": options,
        "keep_alive": draw.choice((None, 0, -1, "5m", "1e9h", "soon")),
        "think": draw.choice((None, True, "low")),
        "format": draw.choice((None, "json", {"type": "object"})),
        "tools": draw.choice((None, [tool])),
    }


def _text(draw: random.Random) -> dict[str, Any]:
    order = _ollama(draw) | {"prompt": draw.choice(("", "hello", "hello")), "raw": _streams(draw)}
    return order | {"suffix": draw.choice((None, "return")), "system": draw.choice((None, "brief"))}


def _texts(draw: random.Random) -> dict[str, Any]:
    texts = draw.choice(("one", "", ["one", "two words"], [], ["x " * 9000], [[1, 2]]))
    return {"input": texts, "prompt": "one", "content": "one", "truncate": _streams(draw)}


def _asked_on(draw: random.Random) -> dict[str, Any]:
    return {"input": "hello", "previous_response_id": "resp_1", "stream": _streams(draw)}


def _looked_up(draw: random.Random) -> dict[str, Any]:
    return {"conversation_ids": draw.choice((["chat-1"], [], ["x"] * 2000, "chat-1", [1]))}


BODIES: Mapping[str, Callable[[random.Random], dict[str, Any]]] = {
    "/v1/chat/completions": _openai,
    "/chat/completions": _openai,
    "/v1/messages": _openai,
    "/v1/messages/count_tokens": _openai,
    "/apply-template": _openai,
    "/v1/completions": _text,
    "/completion": _text,
    "/infill": _text,
    "/v1/responses": _asked_on,
    "/v1/responses/resp_1/cancel": _asked_on,
    "/v1/embeddings": _texts,
    "/v1/rerank": _texts,
    "/tokenize": _texts,
    "/v1/audio/speech": _texts,
    "/v1/images/generations": _texts,
    "/v1/streams/lookup": _looked_up,
    "/api/chat": _ollama,
    "/api/generate": _text,
    "/api/embed": _texts,
    "/api/embeddings": _texts,
    "/api/show": _texts,
    "/api/pull": _texts,
    "/api/delete": _texts,
}

# Values that no encoder writes: they stand in for a text of their number.
_RAW = (
    *(
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\u0000"',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b'"\\"',
        b'"\\x"',
    ),
    *(
        b"1e400",
        b"-1e400",
        b"9" * 5000,
        b"-0",
        b"NaN",
        b"Infinity",
        b"18446744073709551616",
        b"tru",
    ),
    *(b"[" * 2000 + b"]" * 2000, b'{"a":' * 600 + b"1" + b"}" * 600, b"1.00000000000000000000001"),
    *(b"'a'", b"/**/1", b'"model"', b'"model":"b"', b"{}{}", b"\xef\xbb\xbf1"),
)
_ODD: tuple[object, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 1.5, "", "x", "é\u2028", "y" * 70_000),
    *([], {}, [[]], {"": 1}),
)


def json_of(order: dict[str, Any], draw: random.Random) -> bytes:
    for _ in range(draw.choice((0, 0, 0, 1, 1, 2, 3))):
        order = _bent(order, draw)
    text = json.dumps(order, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    for number, raw in enumerate(_RAW):
        text = text.replace(f'"raw {number}"'.encode(), raw)
    match draw.randrange(40):
        case 0:
            return b'{"model":"small",' + text[1:]
        case 1:
            return text[:-1] + b',"model":"b"}'
        case 2:
            return b"\xef\xbb\xbf" + text
        case 3:
            return text.decode().encode("utf-16") if text.isascii() else text
        case 4:
            return draw.choice((b"", b"[]", b"null", b"{", b'"a"', text + text, b" " * 100_000))
        case 5:
            return mutate(text, BENT, draw)
        case 6:
            return b'{"x":"' + b"y" * 100_000 + b'",' + text[1:]  # too large to be decoded
        case _:
            return text


def _bent(order: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """With one value of it something else, gone, or known by another name."""
    bent: dict[str, Any] = copy.deepcopy(order)
    holder, key = draw.choice(list(_places(bent)))
    odd: Any = draw.choice((f"raw {draw.randrange(len(_RAW))}", draw.choice(_ODD)))
    match draw.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[f"raw {draw.randrange(len(_RAW))}"] = holder.pop(key)
        case _:
            holder[key] = odd
    return bent or {"x": odd}


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in pairs:
        yield value, key
        if isinstance(each, dict | list):
            yield from _places(each)


def form(name: str, draw: random.Random) -> bytes:
    end = draw.choice(("\r\n", "\r\n", "\r\n", "\n"))
    filename = draw.choice(("a.wav", '"', "ü\r\n", "x" * 5000))
    part = f'--{BOUNDARY}{end}Content-Disposition: form-data; name="'
    named = f'{part}model"{end}{end}{name}{end}'.encode("utf-8", "surrogatepass")
    blob = draw.randbytes(draw.choice((0, 100, 100_000)))
    file = f'{part}file"; filename="{filename}"{end}{end}'.encode() + blob + end.encode()
    parts = [named, file, *([named] if draw.random() < 0.2 else [])]
    draw.shuffle(parts)
    sent = b"".join(parts) + f"--{BOUNDARY}--{end}".encode()
    return mutate(sent, BENT, draw) if draw.random() < 0.2 else sent
