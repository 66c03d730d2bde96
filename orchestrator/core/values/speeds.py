"""How fast a model answers, as measured, and how fast its operator expects it to be."""

from dataclasses import dataclass
from enum import StrEnum

BOUND_DEFAULT = 0.1  # what two runs of one benchmark differ by on a machine that does other things
# Of the bound. One that drifts is back within this part of it: else a figure at the bound would be
# told again and again.
BACK_WITHIN = 0.5


class Figure(StrEnum):
    GENERATION = "generation_tokens_per_second"
    PROMPT = "prompt_tokens_per_second"
    FIRST_TOKEN = "first_token_seconds"  # noqa: S105 - no password
    LOAD = "load_seconds"


RATES = frozenset({Figure.GENERATION, Figure.PROMPT})  # more is better; of the others less is


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """None: it was not measured, or is not expected to be anything."""

    generation_tokens_per_second: float | None = None
    prompt_tokens_per_second: float | None = None
    first_token_seconds: float | None = None
    load_seconds: float | None = None

    def of(self, figure: Figure) -> float | None:
        value: float | None = getattr(self, figure)
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected(Speeds):
    """What a model that is well does, and by which part of that it may do worse."""

    bound: float = BOUND_DEFAULT

    def is_worse(self, figure: Figure, measured: float, *, drifting: bool) -> bool:
        """Beyond the bound; while it was that already, beyond a part of it. Better is never."""
        expected = self.of(figure)
        if expected is None:
            return False
        bound = self.bound * (BACK_WITHIN if drifting else 1.0)
        if figure in RATES:
            return measured < expected * (1 - bound)
        return measured > expected * (1 + bound)
