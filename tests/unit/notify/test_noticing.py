from dataclasses import dataclass, field
from types import SimpleNamespace

from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import Breaker, Failure, FailureReason
from orchestrator.core.values.messages import LoadFailed, Sampled, Ticked
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, DeviceState, Reading
from orchestrator.notify.noticing import Noticing

A = ModelName("a")
DEVICE = Device(id=DeviceId("g0"), name="A", kind=DeviceKind.GPU)
FAILURE = Failure(reason=FailureReason.MODEL_FILE, detail="it is no model", remedy="Mend it.")


@dataclass
class Seen:
    """The little of the scheduler's state that is looked at."""

    now_s: float = 100.0
    breakers: dict = field(default_factory=dict)
    lines: list = field(default_factory=list)
    told: list = field(default_factory=list)

    def __post_init__(self):
        state = SimpleNamespace(
            breakers=self.breakers, queue=SimpleNamespace(lines=lambda: self.lines)
        )
        self.noticing = Noticing(state, lambda: self.now_s, self.told.append)

    def tell(self, event, *effects):
        self.told.clear()
        self.noticing.observe(event, effects)
        return [(one.kind, one.text, one.remedy) for one in self.told]


def reading(state):
    ok = state is DeviceState.OK
    return Sampled(
        [Reading(device=DEVICE, read_s=1.0, state=state, problem="" if ok else "off the bus")], {}
    )


def test_a_model_that_is_stuck_is_told_in_the_words_of_the_log():
    said = Decide(kind=DecisionKind.STUCK, text="a does not stop.", model=A, remedy="Kill it.")
    other = Decide(kind=DecisionKind.LOAD, text="a loads.", model=A)
    assert Seen().tell(Ticked(), other, said) == [("stuck", "a does not stop.", "Kill it.")]


def test_a_device_is_told_once_for_as_long_as_it_is_away():
    seen = Seen()
    assert seen.tell(reading(DeviceState.OK)) == []
    ((kind, text, _),) = seen.tell(reading(DeviceState.LOST))
    assert (kind, text) == ("device", "g0 is lost: off the bus")
    assert seen.tell(reading(DeviceState.UNREADABLE)) == []
    assert seen.tell(reading(DeviceState.OK)) == []
    assert len(seen.tell(reading(DeviceState.LOST))) == 1


def test_a_breaker_is_told_when_it_opens_and_not_with_each_trial():
    seen = Seen()
    failed = LoadFailed(InstanceId("a-1"), FAILURE)
    seen.breakers[A] = Breaker(failures=1)
    assert seen.tell(failed) == []
    seen.breakers[A] = Breaker().after(FAILURE, seen.now_s)
    assert seen.tell(failed) == [("breaker", "a failed and is refused: it is no model", "Mend it.")]
    seen.now_s += 31
    assert seen.tell(Ticked()) == []
    seen.breakers[A] = seen.breakers[A].after(FAILURE, seen.now_s)
    assert seen.tell(failed) == []
    del seen.breakers[A]
    assert seen.tell(Ticked()) == []
    seen.breakers[A] = Breaker().after(FAILURE, seen.now_s)
    assert len(seen.tell(failed)) == 1


def test_a_bound_that_is_broken_is_told_once():
    seen = Seen()
    line = SimpleNamespace(model=A, arrived_s=40.0, first=SimpleNamespace(ends_by_s=99.5))
    seen.lines.append(line)
    assert seen.tell(Ticked()) == []
    seen.now_s += 2
    ((kind, text, _),) = seen.tell(Ticked())
    assert (kind, text) == ("bound", "A caller of a waits for 62 s, beyond its bound.")
    assert seen.tell(Ticked()) == []
    seen.lines.clear()
    assert seen.tell(Ticked()) == []
