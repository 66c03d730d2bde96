"""Reads what was typed. A word that is none is answered with the one that was meant."""

from __future__ import annotations

import argparse
import re
from difflib import get_close_matches
from typing import NoReturn

from orchestrator.cli.screen import plain

# What other programs call it.
CALLED_ELSEWHERE = {
    "delete": "remove",
    "kill": "stop",
    "ls": "list",
    "rm": "remove",
    "start": "load",
    "top": "status",
    "up": "serve",
}
_NO_CHOICE = re.compile(r"invalid choice: '([^']*)'")


class WordParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Ends with 2, as argparse does."""
        wrong = _NO_CHOICE.search(message)
        if wrong is None:
            super().error(message)
        known = [choice for action in self._actions for choice in map(str, action.choices or ())]
        meant = did_you_mean(wrong[1], known)
        if meant:
            self.exit(2, f"{self.prog}: {plain(repr(wrong[1]))} is unknown{meant}\n")
        super().error(message)


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean ...?`; empty where nothing is near."""
    elsewhere = CALLED_ELSEWHERE.get(word)
    near = [elsewhere] if elsewhere in known else get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
