"""What is worth telling people at once: seen in events, effects and the state they led to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.life.state import State
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.messages import (
    Checked,
    Died,
    Effect,
    Event,
    LoadFailed,
    Sampled,
    Ticked,
)
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId, DeviceState, Reading
from orchestrator.ports import Clock

BROKEN_S = 1.0  # beyond its bound; a tick may be late


class NoticeKind(StrEnum):
    STUCK = "stuck"
    BREAKER = "breaker"
    DEVICE = "device"
    BOUND = "bound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that went wrong, in a sentence, with what helps."""

    kind: NoticeKind
    at_s: float
    text: str
    remedy: str = ""
    model: ModelName | None = None
    device: DeviceId | None = None


class Noticing:
    """Hears everything that happens; tells a thing once for as long as it lasts."""

    def __init__(self, state: State, clock: Clock, tell: Callable[[Notice], None]) -> None:
        self._state = state
        self._clock = clock
        self._tell = tell
        self._open: set[ModelName] = set()  # breakers
        self._away: set[DeviceId] = set()
        self._late: set[ModelName] = set()

    def observe(self, event: Event, effects: Sequence[Effect]) -> None:
        for notice in (*self._stuck(effects), *self._by(event)):
            self._tell(notice)

    def _stuck(self, effects: Sequence[Effect]) -> Iterator[Notice]:
        for effect in effects:
            if isinstance(effect, Decide) and effect.kind is DecisionKind.STUCK:
                yield Notice(
                    kind=NoticeKind.STUCK,
                    at_s=self._clock(),
                    text=effect.text,
                    remedy=effect.remedy,
                    model=effect.model,
                )

    def _by(self, event: Event) -> Iterator[Notice]:
        match event:
            case Sampled(readings):
                yield from filter(None, map(self._device, readings))
            case Ticked():
                yield from self._breakers()
                yield from self._bounds()
            case LoadFailed() | Checked() | Died():
                yield from self._breakers()
            case _:
                pass

    def _device(self, reading: Reading) -> Notice | None:
        device = reading.device.id
        if reading.state is DeviceState.OK:
            self._away.discard(device)
            return None
        if device in self._away:
            return None
        self._away.add(device)
        return Notice(
            kind=NoticeKind.DEVICE,
            at_s=self._clock(),
            text=f"{device} is {reading.state}: {reading.problem}",
            remedy="Nothing is planned on it until it reads again; orchestrator doctor says more.",
            device=device,
        )

    def _breakers(self) -> Iterator[Notice]:
        now_s = self._clock()
        open_ = {name for name, one in self._state.breakers.items() if one.refuses(now_s)}
        for model in sorted(open_ - self._open):
            cause = self._state.breakers[model].cause
            yield Notice(
                kind=NoticeKind.BREAKER,
                at_s=now_s,
                text=f"{model} failed and is refused: {cause.detail if cause else 'no cause'}",
                remedy=cause.remedy if cause else "",
                model=model,
            )
        # Half open and failed again is the same breaker; it is new once it was away.
        self._open = open_ | (self._open & self._state.breakers.keys())

    def _bounds(self) -> Iterator[Notice]:
        now_s = self._clock()
        late = {
            line.model: now_s - line.arrived_s
            for line in self._state.queue.lines()
            if now_s > line.first.ends_by_s + BROKEN_S
        }
        for model in sorted(late.keys() - self._late):
            yield Notice(
                kind=NoticeKind.BOUND,
                at_s=now_s,
                text=f"A caller of {model} waits for {late[model]:.0f} s, beyond its bound.",
                remedy="This is a mistake of ours: report it with the daemon's log.",
                model=model,
            )
        self._late = set(late)
