"""What a simulation has seen, and what it should have: all that the core can be told, do and say."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import get_args

from orchestrator.core.values.decisions import DecisionKind
from orchestrator.core.values.messages import Effect, Event
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import TRANSITIONS
from tests.simulation.watch import Watch

NOT_SEEN = {
    "refusal unknown_service": "said by the configuration and the desk, never by the core",
    "refusal unknown_profile": "likewise",
    "move stuck-releasing": "two reports of one stop, the late one good: in a play",
    "decision catalogue": "said by the desk about what was declared",
    "decision speed": "said by the desk about benchmarks and requests",
}


def expected() -> frozenset[str]:
    return frozenset(
        [
            *(f"event {event.__name__}" for event in get_args(Event)),
            *(f"effect {effect.__name__}" for effect in get_args(Effect)),
            *(f"refusal {code}" for code in RefusalCode),
            *(f"decision {kind}" for kind in DecisionKind),
            *(f"move {one}-{other}" for one, others in TRANSITIONS.items() for other in others),
        ]
    )


@dataclass
class Coverage:
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, watch: Watch) -> None:
        for kind, counts in (
            ("event", watch.events),
            ("effect", watch.effects),
            ("refusal", watch.refusals),
            ("decision", watch.decisions),
            ("move", watch.moves),
        ):
            self.seen.update({f"{kind} {name}": count for name, count in counts.items()})

    @property
    def missing(self) -> list[str]:
        return sorted(expected() - self.seen.keys() - NOT_SEEN.keys())

    def table(self) -> Iterable[str]:
        for name in sorted(expected() | self.seen.keys()):
            why = NOT_SEEN.get(name, "")
            yield f"{self.seen[name]:>9}  {name}" + (f"  ({why})" if why else "")
