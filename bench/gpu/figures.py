"""What was measured, written to the disk figure by figure, so that whatever ends a run keeps it.

One JSON object a line: a figure, or what became of a step. A later run goes on from the file.
"""

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    step: str
    name: str
    value: float | str | bool | None  # None: it could not be told
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    step: str
    seconds: float
    problem: str = ""  # empty: it ran to its end


@dataclass(slots=True)
class Figures:
    """`rehearsed` stands in every line: figures of a stand-in are never taken for a card's."""

    path: Path
    rehearsed: bool
    _began_s: float = field(default_factory=time.monotonic)

    def add(self, step: str, name: str, value: Any, unit: str = "") -> None:
        self._write("figure", Figure(step, name, value, unit))
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"{time.monotonic() - self._began_s:6.1f} s  {step}: {name}: {shown} {unit}".rstrip())

    def ended(self, outcome: Outcome) -> None:
        self._write("outcome", outcome)
        said = outcome.problem or "done"
        print(f"{time.monotonic() - self._began_s:6.1f} s  {outcome.step}: {said}", flush=True)

    def read(self) -> tuple[list[Figure], list[Outcome]]:
        """Of each step its last attempt alone. A line that a crash cut short is left out."""
        figures: dict[str, list[Figure]] = {}
        outcomes: dict[str, Outcome] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if said.pop("rehearsed") != self.rehearsed:
                continue
            kind = said.pop("kind")
            if kind == "begun":
                figures[said["step"]] = []
                outcomes.pop(said["step"], None)
            elif kind == "figure":
                figures.setdefault(said["step"], []).append(Figure(**said))
            else:
                outcomes[said["step"]] = Outcome(**said)
        return [figure for group in figures.values() for figure in group], list(outcomes.values())

    def begin(self, step: str) -> None:
        self._append({"kind": "begun", "step": step})

    def done(self) -> set[str]:
        """The steps that need not run again."""
        return {outcome.step for outcome in self.read()[1] if not outcome.problem}

    def _write(self, kind: str, what: Figure | Outcome) -> None:
        self._append({"kind": kind} | asdict(what))

    def _append(self, said: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(said | {"rehearsed": self.rehearsed}) + "\n")
            file.flush()
            os.fsync(file.fileno())
