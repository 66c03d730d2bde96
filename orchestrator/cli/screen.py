"""What a terminal shows: sentences as they are; tables, and what moves, drawn by rich.

The only module that knows rich, which is imported when something is drawn: that takes half as
long as a whole short command. In a pipe or a file a row of a table is one line, whatever its
length, and there are no escape codes.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.spinner import Spinner
    from rich.table import Table

    Part = str | Table  # of what is said; a sentence has one line

PIPE_COLUMNS = 1 << 16  # no row is wrapped where there is no window
_CLEAR = "\x1b[H\x1b[2J"


def say(*parts: Part, anew: bool = False) -> None:
    """`anew`: on an empty screen, where it is one."""
    said = "".join(f"{plain(part)}\n" if isinstance(part, str) else _drawn(part) for part in parts)
    _write(f"{_CLEAR}{said}" if anew and sys.stdout.isatty() else said)


def say_exactly(text: str) -> None:
    """With all that is in it, for a program that reads it."""
    _write(text.rstrip("\n") + "\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()  # also where it goes into a pipe: its reader may be following


def say_piece(text: str) -> None:
    """A piece of a text that is still being written: its lines are its own."""
    _write("\n".join(map(plain, text.split("\n"))))


def complain(*texts: str) -> None:
    lines = (line for text in texts for line in text.split("\n") if line)
    sys.stderr.write("".join(f"{plain(line)}\n" for line in lines))
    sys.stderr.flush()


def plain(text: str) -> str:
    """Without what a file or a server may have put there to fool the terminal that shows it."""
    return "".join(c if c.isprintable() else "�" for c in text.expandtabs(4))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> Table:
    """Columns that are named in `right` are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(head))
    for name in head:
        drawn.add_column(name, justify="right" if name in right.split() else "left")
    for row in rows:
        drawn.add_row(*(Text(plain(cell), overflow="fold") for cell in row))
    return drawn


@contextmanager
def waiting(words: Iterator[str], screen: TextIO | None = None) -> Iterator[None]:
    """While the block runs, a line that moves and shows the next words. Only for a terminal."""
    screen = screen or sys.stderr
    if not screen.isatty():
        yield
        return
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    spinner = Spinner("dots")

    def turned() -> Spinner:
        spinner.update(text=Text(next(words), no_wrap=True, overflow="ellipsis"))
        return spinner

    with Live(console=_console(screen), get_renderable=turned, transient=True):
        yield


def _drawn(part: Table) -> str:
    console = _console(sys.stdout)
    with console.capture() as captured:
        console.print(part)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _console(screen: TextIO) -> Console:
    from rich.console import Console

    width = None if screen.isatty() else PIPE_COLUMNS
    return Console(file=screen, force_terminal=screen.isatty(), width=width)
