"""Which flags a `llama-server` accepts: llama.cpp renames and removes them between builds."""

import re
from dataclasses import dataclass

_ENTRY = re.compile(r"^(-{1,2}[A-Za-z][\w.-]*(?:, +-{1,2}[A-Za-z][\w.-]*)*)( \S)?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Flags:
    """What a server accepts: every spelling, and which of them take a value."""

    names: frozenset[str]
    valued: frozenset[str]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def first(self, *names: str) -> str | None:
        """The first of these spellings that is accepted."""
        return next((name for name in names if name in self.names), None)


def parse_help(text: str) -> Flags:
    """Read the flags out of `--help`: aliases separated by commas, two spaces before the words."""
    names: set[str] = set()
    valued: set[str] = set()
    for entry in _ENTRY.finditer(text):
        spellings = re.split(r", +", entry[1])
        names.update(spellings)
        if entry[2]:
            valued.update(spellings)
    return Flags(frozenset(names), frozenset(valued))
