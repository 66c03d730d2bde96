"""The events of a model server's stream, out of bytes that come in any pieces."""

from collections.abc import Iterator

EVENT_BYTES_MAX = 4 << 20  # one chunk with all its likelihoods takes some kilobytes
END = b"[DONE]"


class EventTooLarge(ValueError):
    """What comes is no stream of events, or is meant to fill the memory."""


class EventReader:
    """Holds at most one event that is not whole yet."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event that is whole now; comments are left out.

        Raise EventTooLarge.
        """
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if (event := self._take(line.removesuffix(b"\r"))) is not None:
                yield event
        if len(self._rest) + self._size > EVENT_BYTES_MAX:
            raise EventTooLarge(f"an event of more than {EVENT_BYTES_MAX} bytes")

    def close(self) -> Iterator[bytes]:
        """The event that the stream ended in, if it did: some servers forget the empty line."""
        for line in (self._rest.removesuffix(b"\r"), b""):
            if (event := self._take(line)) is not None:
                yield event
        self._rest = b""

    def _take(self, line: bytes) -> bytes | None:
        if not line:
            event, self._data, self._size = self._data, [], 0
            return b"\n".join(event) if event else None
        name, _, value = line.partition(b":")
        # llama.cpp's server says `error:` where the standard has no such field.
        if name in (b"data", b"error"):
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
        return None
