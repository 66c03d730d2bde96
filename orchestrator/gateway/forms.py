"""Finds a field of a form (`multipart/form-data`) without reading its files.

Files are jumped over from boundary to boundary, and no byte is looked at more than a few times,
whatever a caller sends.
"""

import re

PARTS_MAX = 1000  # fields and files; behind them nobody looks
HEAD_BYTES_MAX = 8 << 10  # of one part
VALUE_BYTES_MAX = 4 << 10

_BOUNDARY = re.compile(rb';[ \t]*boundary=(?:"([^"\r\n]{1,200})"|([^";,\s]{1,200}))', re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_DISPOSITION = b"content-disposition:"


def boundary_of(content_type: bytes) -> bytes | None:
    stated = _BOUNDARY.search(content_type)
    return None if stated is None else b"--" + (stated[1] or stated[2])


def with_field(name: str, value: str, body: bytes, content_type: bytes) -> bytes | None:
    """The form with one more field, before all others. None: it is no form."""
    if (boundary := boundary_of(content_type)) is None:
        return None
    head = f'\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
    return boundary + head.encode() + body


def field(name: str, body: bytes, content_type: bytes) -> str | None:
    """Of fields with one name the first counts. None: it is not there."""
    if (boundary := boundary_of(content_type)) is None:
        return None
    stated_name = re.escape(name.encode())
    named = re.compile(rb';[ \t]*name="?%b"?[ \t\r]*(?:;|$)' % stated_name, re.IGNORECASE)
    at = body.find(boundary)
    for _ in range(PARTS_MAX):
        begins = at + len(boundary)
        if at < 0 or (head := _HEAD_END.search(body, begins, begins + HEAD_BYTES_MAX)) is None:
            break
        at = body.find(b"\n" + boundary, head.end() - 1)
        if at < 0:
            break
        if any(_is_of(line, named) for line in body[begins : head.start()].split(b"\n")):
            return body[head.end() : at][:VALUE_BYTES_MAX].rstrip(b"\r").decode("utf-8", "replace")
        at += 1
    return None


def _is_of(line: bytes, named: re.Pattern[bytes]) -> bool:
    is_disposition = line[: len(_DISPOSITION)].lower() == _DISPOSITION
    return is_disposition and named.search(line) is not None
