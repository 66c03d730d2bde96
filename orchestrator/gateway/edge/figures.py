"""The lines in which nginx says what it has carried.

nginx appends to a file, also while no daemon runs; a daemon reads on where the last one was, and
cuts the file when it has read enough of it.
"""

import os
from contextlib import suppress
from pathlib import Path

from orchestrator.desk.activity import RECENT_MAX

FILE, PLACE = "figures.log", "figures.read"
READ_BYTES_MAX = 8 << 20  # at a time: what is before that is counted, and not looked at
CUT_BYTES = 4 << 20  # a file that was read so far is begun anew
LINES_MAX = RECENT_MAX  # of a time that become records: no more would be shown or kept


class FigureLines:
    """Reads the file of one edge. Everything blocks, for milliseconds."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._place_file = folder / PLACE
        self._place = self._written_place()

    def read(self) -> tuple[list[bytes], int]:
        """The newest whole lines since the last time, and how many there were before these."""
        try:
            with self._file.open("rb") as file:
                return self._read(file.fileno())
        except OSError:  # there is none yet
            return [], 0

    def _read(self, fd: int) -> tuple[list[bytes], int]:
        size = os.fstat(fd).st_size
        begin = self._place if self._place <= size else 0  # it was begun anew by others
        passed_over = 0
        if size - begin > READ_BYTES_MAX:
            passed_over, begin = _lines_in(fd, begin, size - READ_BYTES_MAX)
        text = os.pread(fd, size - begin, begin)
        whole = text[: text.rfind(b"\n") + 1]
        lines = whole.splitlines()
        self._place = begin + len(whole)
        if self._place >= CUT_BYTES and os.fstat(fd).st_size == self._place:
            os.truncate(self._file, 0)  # nginx appends: it goes on at the beginning
            self._place = 0
        self._write_place()
        return lines[-LINES_MAX:], passed_over + max(0, len(lines) - LINES_MAX)

    def _written_place(self) -> int:
        try:
            return int(self._place_file.read_text())
        except (OSError, ValueError):
            return 0

    def _write_place(self) -> None:
        with suppress(OSError):  # the next daemon would show some of them twice
            self._place_file.write_text(str(self._place))


def _lines_in(fd: int, begin: int, end: int) -> tuple[int, int]:
    """How many lines end before the first that begins at `end` or later, and where that is."""
    count = 0
    while begin < end:
        text = os.pread(fd, min(READ_BYTES_MAX, end - begin), begin)
        if not text:
            break
        count += text.count(b"\n")
        begin += len(text)
    rest = os.pread(fd, READ_BYTES_MAX, begin)
    return count + 1, begin + rest.find(b"\n") + 1
