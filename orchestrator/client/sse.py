"""Server-sent events out of bytes as they come, wherever these are cut."""

from __future__ import annotations

from orchestrator.client.errors import NotUnderstood

EVENT_BYTES_MAX = 16 << 20  # of one event; a chunk of an answer has some hundred bytes


class EventBytes:
    """Fed with bytes; gives the data of the events that are complete. Comments are dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []
        self._size = 0
        self._after_cr = False  # a line ended with CR at the end of a piece: an LF may follow

    def feed(self, piece: bytes) -> list[str]:
        """Raise NotUnderstood where an event has no end."""
        new = piece.removeprefix(b"\n") if self._after_cr else piece
        if piece:
            self._after_cr = piece.endswith(b"\r")
        *lines, self._rest = _lines(self._rest + new)
        events = [event for line in lines if (event := self._line(line)) is not None]
        if len(self._rest) + self._size > EVENT_BYTES_MAX:
            raise NotUnderstood("An event of the answer is too long to be one.")
        return events

    def _line(self, line: bytes) -> str | None:
        if not line:
            event = "\n".join(self._data) if self._data else None
            self._data, self._size = [], 0
            return event
        name, _, value = line.partition(b":")
        if name == b"data":
            self._size += len(line)
            self._data.append(value.removeprefix(b" ").decode("utf-8", "replace"))
        return None


def _lines(data: bytes) -> list[bytes]:
    """Split at CR, LF and CR LF, of which no other character is a part in UTF-8."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
