"""How long the ways in take, and how much is typed on them: the end of a run says so."""

import time
from collections.abc import Callable

import pytest

_WALK = "walk"  # the kind of property under which a worker tells the one that reports

Record = Callable[[str, object], None]


class Walk:
    """One way in, from the first word that is typed until there is an answer."""

    def __init__(self, name: str, record: Record, *, before_s: float = 0.0) -> None:
        """`before_s`: what a fixture that others share took of it."""
        self._name = name
        self._record = record
        self._began_s = time.monotonic() - before_s
        self.typed: list[str] = []

    def types(self, words: str) -> None:
        self.typed.append(words)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began_s

    def ends(self) -> None:
        typed = f"{len(self.typed)} typed ({'; '.join(self.typed)})"
        self._record(_WALK, f"{self._name}: {self.seconds:.1f} s, {typed}")


def told(reports: list[pytest.TestReport]) -> list[str]:
    """One line for each walk that came to its end."""
    properties = [each for report in reports for each in report.user_properties]
    return [
        f"walk: {said}" for said in dict.fromkeys(str(s) for kind, s in properties if kind == _WALK)
    ]
