"""How many tokens an answer took, read from its bytes as they pass. Pure.

Servers say it near the beginning or at the end, so these are kept and the rest is not: the reader
takes the same little memory and time whatever passes. Only a short document is decoded; in all else
it looks for the keys `usage` and `timings` where servers put them, and decodes what they hold.

Of a key there can be no mistake. In a string of JSON every quote has a backslash before it, so a
`"usage"` without one is a key; and a key of the server's own stands at the top of its document or
one below it, where nothing that a model makes up (such as the input of a tool) ever stands.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from json import JSONDecoder

from pydantic_core import from_json

from orchestrator.records import Usage

HEAD_BYTES = 1 << 10  # Anthropic's message_start; the usage of embeddings before their vectors
TAIL_BYTES = 8 << 10  # the last events of a stream; what servers put behind an answer
OBJECT_BYTES_MAX = 2 << 10  # of what a key holds: some hundred bytes with every server seen
# Keys that are looked at closely, from the last one on. A server's own stands among the last; an
# answer that is made of nothing else costs a few milliseconds and not half a second.
KEYS_MAX = 8
DEPTH_MAX = 2  # {"usage": …}, {"response": {"usage": …}}, {"message": {"usage": …}}
TOKENS_MAX = 1 << 53  # beyond it no program means what it says

_BACKSLASH = ord("\\")
_HELD = re.compile(rb"\s*:\s*(?=\{)")
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_OPENS = (b"{", b"[")
_CLOSES = (b"}", b"]")
_decode = JSONDecoder().raw_decode


class UsageReader:
    """Is fed with every piece of an answer's body, in order."""

    __slots__ = ("_head", "_tail", "_total")

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()  # up to twice TAIL_BYTES, so that it is not cut at every piece
        self._total = 0

    def feed(self, chunk: bytes) -> None:
        if self._total < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - self._total]
        self._total += len(chunk)
        if len(chunk) > TAIL_BYTES:
            chunk = chunk[-TAIL_BYTES:]
        self._tail += chunk
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def usage(self) -> Usage:
        """What the server has said so far; all None where it has not."""
        head, tail = bytes(self._head), bytes(self._tail[-TAIL_BYTES:])
        in_lines = not head.lstrip().startswith(_OPENS)  # events, or one document
        cut = self._total > len(tail)
        if not cut and not in_lines and (document := _decoded(tail)) is not None:
            return _told(_members(document, "usage"), next(_members(document, "timings"), {}))
        said = list(_held(tail, b'"usage"', in_lines=in_lines, cut=cut))
        if cut:
            said += _held(head, b'"usage"', in_lines=in_lines, cut=False)
        return _told(said, next(_held(tail, b'"timings"', in_lines=in_lines, cut=cut), {}))


def _told(said: Iterable[Mapping[str, object]], timings: Mapping[str, object]) -> Usage:
    """The first that says something counts."""
    tokens_in = tokens_out = None
    for usage in said:
        tokens_in = _prompt_tokens(usage) if tokens_in is None else tokens_in
        tokens_out = _answer_tokens(usage) if tokens_out is None else tokens_out
    if tokens_in is None:
        tokens_in = _sum(timings, "prompt_n", "cache_n")
    if tokens_out is None:
        tokens_out = _count(timings, "predicted_n")
    return Usage(tokens_in, tokens_out, _rate(timings, "predicted_per_second"))


def _decoded(document: bytes) -> dict[str, object] | None:
    try:
        decoded = from_json(document)
    except ValueError:  # it has not come to its end
        return None
    return decoded if isinstance(decoded, dict) else None


def _members(document: dict[str, object], key: str) -> Iterator[Mapping[str, object]]:
    """The objects that the key holds, at the top or one below it, the last one first."""
    for name, value in reversed(document.items()):
        if isinstance(value, dict):
            held = value if name == key else value.get(key)
            if isinstance(held, dict):
                yield held


def _prompt_tokens(usage: Mapping[str, object]) -> int | None:
    """With those that were cached: OpenAI's figure holds them, Anthropic's has them beside it."""
    if "prompt_tokens" in usage:
        return _count(usage, "prompt_tokens")
    cached = ("cache_read_input_tokens", "cache_creation_input_tokens")
    return _sum(usage, "input_tokens", *cached)


def _answer_tokens(usage: Mapping[str, object]) -> int | None:
    return _count(usage, "completion_tokens" if "completion_tokens" in usage else "output_tokens")


def _sum(said: Mapping[str, object], first: str, *more: str) -> int | None:
    """None where the first is not known; what is not known of the others is 0."""
    tokens = _count(said, first)
    return None if tokens is None else tokens + sum(_count(said, name) or 0 for name in more)


def _count(said: Mapping[str, object], name: str) -> int | None:
    tokens = said.get(name)
    return tokens if type(tokens) is int and 0 <= tokens <= TOKENS_MAX else None


def _rate(said: Mapping[str, object], name: str) -> float | None:
    rate = said.get(name)
    return float(rate) if isinstance(rate, int | float) and 0 <= rate <= TOKENS_MAX else None


def _held(
    window: bytes, key: bytes, *, in_lines: bool, cut: bool
) -> Iterator[Mapping[str, object]]:
    """The objects that the key holds, the last one first. `cut`: there was more before."""
    at = len(window)
    looked_at = 0
    while looked_at < KEYS_MAX and (at := window.rfind(key, 0, at)) > 0:
        if window[at - 1] == _BACKSLASH:  # of a key at 0 the byte before is not known
            continue
        colon = _HELD.match(window, at + len(key))
        if colon is None:
            continue
        looked_at += 1
        if not 0 < _depth(window, at, in_lines=in_lines, cut=cut) <= DEPTH_MAX:
            continue
        text = window[colon.end() : colon.end() + OBJECT_BYTES_MAX].decode("utf-8", "replace")
        try:
            held, _ = _decode(text)
        except (ValueError, RecursionError):  # it has not come to its end
            continue
        yield held


def _depth(window: bytes, at: int, *, in_lines: bool, cut: bool) -> int:
    """How many objects and lists are open at a place outside of strings; 0: that cannot be told.

    Counted from the beginning of the document, or from its end where the beginning is not here.
    """
    begin = window.rfind(b"\n", 0, at) + 1 if in_lines else 0
    if begin > 0 or not cut:
        return _opened(window, begin, at)
    end = window.find(b"\n", at) if in_lines else len(window)
    return -_opened(window, at, end) if end > 0 else 0


def _opened(window: bytes, begin: int, end: int) -> int:
    tokens = _TOKEN.findall(window, begin, end)
    return sum(token in _OPENS for token in tokens) - sum(token in _CLOSES for token in tokens)
