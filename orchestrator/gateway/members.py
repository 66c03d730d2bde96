"""Finds members of a JSON object, without decoding the rest.

A picture of ten megabytes takes a decoder a hundred milliseconds, in which nobody else is served.
Strings are jumped over from quote to quote.
"""

import re
from collections.abc import Collection

from pydantic_core import from_json

DECODED_BYTES_MAX = 64 << 10  # up to here a decoder is quick: 0.2 ms
JUMPS_MAX = 64  # over escaped quotes of one string; where there are more, an expression is quicker
DEPTH_MAX = 512
PARTS_MAX = 100_000  # objects, lists, texts and members: a tenth of a second, in which others wait

_NEXT = re.compile(rb'["{}\[\],]')
_NEXT_WITHIN = re.compile(rb'["{}\[\]]')  # where no member of the outermost object begins
_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)  # of a string
_SCALAR = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*(?:(")|(true|false|null|-?[0-9][0-9.eE+-]{0,40}))')
_BEFORE = b" \t\r\n\xef\xbb\xbf"

Scalar = str | int | float | bool | None


class NotAnObject(Exception):
    """The body is no JSON object, or not one that can be read."""


def members(body: bytes, names: Collection[str]) -> dict[str, Scalar]:
    """Those of the members of the outermost object that are there and no larger than a string.

    Of a member that stands there twice the last one counts, as with decoders. Raise NotAnObject.
    """
    if len(body) > DECODED_BYTES_MAX:
        return _scanned(body, names)
    try:
        read = from_json(body)
    except ValueError as error:
        raise NotAnObject(str(error)) from error
    if not isinstance(read, dict):
        raise NotAnObject("it is no object")
    found = {}
    for name in names:
        value = read.get(name)
        if value is not None and not isinstance(value, dict | list):
            found[name] = value
    return found


def check_parts(body: bytes) -> None:
    """What may be decoded: of many parts a decoder makes many objects. Raise NotAnObject."""
    if len(body) > DECODED_BYTES_MAX:
        _scanned(body, (), within=_NEXT)


def _scanned(
    body: bytes, names: Collection[str], within: re.Pattern[bytes] = _NEXT_WITHIN
) -> dict[str, Scalar]:
    """`within`: what is a part inside of members."""
    wanted = {f'"{name}"'.encode(): name for name in names}
    found: dict[str, Scalar] = {}
    depth = 0
    awaits_key = False
    start = len(body) - len(body.lstrip(_BEFORE))
    if body[start : start + 1] != b"{":
        raise NotAnObject("it is no object")
    parts = 0
    while (token := (within if depth > 1 else _NEXT).search(body, start)) is not None:
        at, sign = token.start(), token[0]
        start = at + 1
        parts += 1
        if parts > PARTS_MAX:
            raise NotAnObject(f"it has more than {PARTS_MAX} parts")
        if sign == b'"':
            start = _string_end(body, at) + 1
            if depth == 1 and awaits_key:
                awaits_key = False
                name = wanted.get(body[at:start]) or _escaped(body[at:start], names)
                if name is not None:
                    found[name] = _scalar_after(body, start)
        elif sign in b"{[":
            depth += 1
            awaits_key = depth == 1
            if depth > DEPTH_MAX:
                raise NotAnObject(f"it is deeper than {DEPTH_MAX}")
        elif sign == b",":
            awaits_key = depth == 1
        else:
            depth -= 1
            if depth == 0:
                break
    if depth or body[start:].strip():
        raise NotAnObject("it does not end where it should")
    return {name: value for name, value in found.items() if value is not None}


def _string_end(body: bytes, start: int) -> int:
    """Where the closing quote of the string is that begins at `start`."""
    at = start
    for _ in range(JUMPS_MAX):
        at = body.find(b'"', at + 1)
        if at == -1:
            break
        before = at - 1
        while body[before] == 0x5C:
            before -= 1
        if (at - before) % 2:  # an even number of backslashes
            return at
    else:
        if (rest := _REST.match(body, at + 1)) is not None:
            return rest.end() - 1
    raise NotAnObject("a string in it does not end")


def _escaped(text: bytes, names: Collection[str]) -> str | None:
    """A name that is written with escapes."""
    if b"\\" not in text:
        return None
    name = _decoded(text)
    return name if isinstance(name, str) and name in names else None


def _scalar_after(body: bytes, at: int) -> Scalar:
    """None of what is larger than a string."""
    match = _SCALAR.match(body, at)
    if match is None:
        return None
    if match[2] is not None:
        return _decoded(match[2])
    begin = match.start(1)
    return _decoded(body[begin : _string_end(body, begin) + 1])


def _decoded(text: bytes) -> Scalar:
    try:
        value: Scalar = from_json(text)
    except ValueError as error:
        raise NotAnObject(str(error)) from error
    return value
