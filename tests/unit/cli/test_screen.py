import io
import itertools
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.cli import screen

ROOT = Path(__file__).parents[3]
ROWS = [("a", "1.0 GB"), ("longer than a window", "16.8 GB")]
SAY = f"""
import sys
from orchestrator.cli.screen import say, table
say("Said.", table(("NAME", "SIZE"), {ROWS!r}, right="SIZE"), anew="anew" in sys.argv)
"""


def at_a_terminal(*words, columns, **variables):
    """What a terminal of so many columns is sent."""
    ours, theirs = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": str(columns)}  # noqa: TID251
    subprocess.run(
        [sys.executable, "-c", SAY, *words],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        env=environ | variables,
        check=True,
    )
    os.close(theirs)
    sent = os.read(ours, 1 << 16)
    os.close(ours)
    return sent.decode().replace("\r\n", "\n")


def test_columns_line_up(capsys):
    screen.say("Said.", screen.table(("NAME", "SIZE"), ROWS, right="SIZE"))
    assert capsys.readouterr().out.splitlines() == [
        "Said.",
        "NAME                     SIZE",
        "a                      1.0 GB",
        "longer than a window  16.8 GB",
    ]


@pytest.mark.parametrize("variable", ["COLUMNS", "FORCE_COLOR", "CLICOLOR_FORCE"])
def test_in_a_pipe_a_row_is_one_line_without_escape_codes(capsys, monkeypatch, variable):
    monkeypatch.setenv(variable, "20")
    wide = "x" * 500
    screen.say(screen.table(("NAME", "SIZE"), [(wide, "1")]), anew=True)
    assert capsys.readouterr().out.splitlines()[1] == f"{wide}  1"


def test_a_table_fits_into_the_terminal():
    text = at_a_terminal(columns=22)
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= 22
    assert len(lines) > 4, "what is longer goes on in the next line of its cell"
    assert lines[2].split() == ["a", "1.0", "GB"]


def test_a_terminal_is_coloured_no_more_than_it_wants():
    assert "\x1b[3" not in at_a_terminal(columns=80, NO_COLOR="1")
    assert "\x1b" not in at_a_terminal(columns=80, TERM="dumb")


def test_a_terminal_is_cleared_only_to_be_painted_anew():
    assert at_a_terminal("anew", columns=80).startswith("\x1b[H\x1b[2JSaid.\n")
    assert at_a_terminal(columns=80).startswith("Said.\n")


def test_nothing_that_a_log_or_a_name_holds_moves_the_cursor(capsys):
    assert screen.plain("a\x1b[2Jb\tc\r\n") == "a�[2Jb  c��"
    screen.say(screen.table(("A",), [("\x1b[31m[red]:smile:",)]))
    assert capsys.readouterr().out == "A\n�[31m[red]:smile:\n"


def test_a_complaint_moves_no_cursor(capsys):
    screen.complain("a\x1b[2Jb\nc", "")
    assert capsys.readouterr().err == "a\N{REPLACEMENT CHARACTER}[2Jb\nc\n"


class Screen(io.StringIO):
    """A terminal that says when it has been told something."""

    def __init__(self, awaited):
        super().__init__()
        self.awaited = awaited
        self.told = threading.Event()

    def isatty(self):
        return True

    def write(self, text):
        if self.awaited in text:
            self.told.set()
        return super().write(text)


def test_on_a_terminal_a_wait_shows_the_latest_words(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = Screen("[later")
    words = itertools.chain(["first"] * 5, itertools.repeat("[later"))
    with screen.waiting(words, terminal):
        assert terminal.told.wait(timeout=20)
    shown = terminal.getvalue()
    assert shown.rindex("\x1b[2K") > shown.rindex("[later"), "the line is wiped in the end"


def test_in_a_pipe_nothing_moves(capsys):
    with screen.waiting(iter(())):
        pass
    assert capsys.readouterr().err == ""
