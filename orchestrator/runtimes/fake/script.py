"""What a fake server is asked to do, and what may go wrong with it: settings of a fake world."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.specs import FakeBehaviour, FakeFailure
from orchestrator.core.values.vram import DeviceId

Range = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How long things take and how often they go wrong. Chances are between 0 and 1."""

    start_s: Range = (0.0, 0.0)  # until `start` returns
    load_s: Range = (0.0, 0.0)  # from there until it answers; it takes its bytes bit by bit
    stop_s: Range = (0.0, 0.0)
    appetite: Range = (1.0, 1.0)  # what it takes, as a multiple of what its placement says
    start_fails: float = 0.0
    start_reasons: tuple[FailureReason, ...] = (FailureReason.EXITED,)
    never_ready: float = 0.0
    dies: float = 0.0
    dies_after_s: Range = (0.0, 600.0)
    stop_fails: float = 0.0
    stop_hangs: float = 0.0
    stop_hang_s: float = 3600.0  # then the stop fails


class Mishap(StrEnum):
    START_FAILS = "start_fails"
    STOP_FAILS = "stop_fails"
    STOP_HANGS = "stop_hangs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a launch asks of a fake server; travels as its argv."""

    shares: tuple[tuple[DeviceId, int], ...] = ()
    behaviour: FakeBehaviour | None = None  # None: the world's fate says how long things take
    exits_after_s: float | None = None
    exit_code: int = 0
    log_lines: int = 0

    def argv(self) -> tuple[str, ...]:
        behaviour = self.behaviour
        words = {
            "shares": self.shares,
            "behaviour": None
            if behaviour is None
            else {name: getattr(behaviour, name) for name in behaviour.__dataclass_fields__},
            "exits_after_s": self.exits_after_s,
            "exit_code": self.exit_code,
            "log_lines": self.log_lines,
        }
        return ("fake", json.dumps(words))

    @classmethod
    def of(cls, argv: Sequence[str]) -> "Script":
        """Raise ValueError, KeyError or TypeError if the argv is no script."""
        program, text = argv
        if program != "fake":
            raise ValueError(f"there is no program {program} in a fake world")
        words = json.loads(text)
        behaviour = words.pop("behaviour")
        if behaviour is not None:
            behaviour = FakeBehaviour(**{**behaviour, "fail": FakeFailure(behaviour["fail"])})
        shares = tuple((DeviceId(device), share) for device, share in words.pop("shares"))
        return cls(shares=shares, behaviour=behaviour, **words)
