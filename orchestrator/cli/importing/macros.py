"""llama-swap's macros: ${name}, ${env.NAME}, and macros in macros."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

ROUNDS_MAX = 16  # of macros in macros
CHARS_MAX = 1 << 16  # of one value: macros that hold each other twice grow without end
KEPT = frozenset({"PORT", "PID"})  # known when a model starts

_MACRO = re.compile(r"\$\{([A-Za-z0-9_-]+)\}")
_ENVIRONMENT = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")


class Macros:
    def __init__(self, environ: Mapping[str, str], *named: object) -> None:
        """Later ones of a name win: a model's over those of all. What is no mapping has none."""
        self._environ = environ
        self._values: dict[str, str] = {}
        self.unset: set[str] = set()  # variables that are not there, as they were met
        for macros in named:
            if isinstance(macros, Mapping):
                self._values |= {str(name): _text(value) for name, value in macros.items()}

    def expanded(self, text: str) -> str:
        """With everything filled in that is known; unknown macros stay as they are written."""
        for _ in range(ROUNDS_MAX):
            following = _ENVIRONMENT.sub(self._variable, _MACRO.sub(self._macro, text))
            if following == text or len(following) > CHARS_MAX:
                break
            text = following
        return text

    def unknown(self, text: str) -> Iterator[str]:
        return (found[1] for found in _MACRO.finditer(text) if found[1] not in KEPT)

    def _macro(self, found: re.Match[str]) -> str:
        return self._values.get(found[1], found[0])

    def _variable(self, found: re.Match[str]) -> str:
        value = self._environ.get(found[1])
        if value is None:
            self.unset.add(found[1])
            return found[0]
        return value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _without_comments(str(value))


def _without_comments(text: str) -> str:
    """Lines that begin with # are comments of a command, and are not expanded."""
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))


def command_text(text: str) -> str:
    """A command without its comments, its broken lines joined."""
    return re.sub(r"\\[ \t]*\r?\n", " ", _without_comments(text))
