"""Which flags a `llama-server` accepts: llama.cpp renames and removes them between builds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"-{1,2}[A-Za-z][\w.-]*")
_ENTRY = re.compile(r"^(-{1,2}[A-Za-z][\w.-]*(?:, +-{1,2}[A-Za-z][\w.-]*)*)( \S+)?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Flags:
    """What a server accepts: every spelling, which of them take a value, and which of those values
    are lists of names with numbers.
    """

    names: frozenset[str]
    valued: frozenset[str]
    listing: frozenset[str] = frozenset()  # A:1,B:2 in one value; older builds took two values

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def first(self, *names: str) -> str | None:
        """The first of these spellings that is accepted."""
        return next((name for name in names if name in self.names), None)

    def unknown(self, words: Sequence[str]) -> str | None:
        """The first that looks like a flag and is none, where no value is expected."""
        before = ""
        for word in words:
            name = word.replace("_", "-") if word.startswith("--") else word
            if _WORD.fullmatch(name) and name not in self.names and before not in self.valued:
                return word
            before = name
        return None


def parse_help(text: str) -> Flags:
    """Read the flags out of `--help`: aliases separated by commas, two spaces before the words."""
    names: set[str] = set()
    valued: set[str] = set()
    listing: set[str] = set()
    for entry in _ENTRY.finditer(text):
        spellings = re.split(r", +", entry[1])
        names.update(spellings)
        if entry[2]:
            valued.update(spellings)
            if ":" in entry[2] and entry[2].endswith(",..."):
                listing.update(spellings)
    return Flags(frozenset(names), frozenset(valued), frozenset(listing))
