from datetime import UTC, datetime

from orchestrator.access.caller import Caller, Via
from orchestrator.access.keys.record import KeyScope
from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.conductor.history import Decided, Holder, Span, Spanned
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId
from orchestrator.records import DecisionRecord
from orchestrator.web.live.hearing import hears, tell
from tests.unit.access.keys.samples import key

NARROW = Rights(caller=Caller(via=Via.HTTP), key=key(KeyScope.READ, models=("a",)))
WIDE = Rights(caller=Caller(via=Via.HTTP), key=key(KeyScope.READ, id="wide1234"))


def decided(model):
    said = Decide(kind=DecisionKind.LOAD, text="x", model=model and ModelName(model))
    return Decided(1, DecisionRecord(id=1, at=datetime.now(UTC), decision=said))


def span(holder, name):
    return Spanned(
        1, Span(id=1, holder=holder, name=name, device=DeviceId("g"), held_bytes=1, from_s=0.0)
    )


def test_key_hears_of_its_models_alone():
    changes = [decided("a"), decided("b"), decided(None)]
    changes += [span(Holder.RESIDENT, "a"), span(Holder.RESIDENT, "b")]
    changes += [span(Holder.LEASE, "a"), span(Holder.FOREIGN, "")]
    assert [hears(change, NARROW) for change in changes] == [
        *(True, False, False),
        *(True, False),
        *(False, False),
    ]
    assert all(hears(change, EVERYTHING) for change in changes)


class Heard:
    def __init__(self, rights):
        self.rights = rights
        self.frames = []

    def hear(self, frame, sequence=None):
        self.frames.append(frame)


def test_what_is_for_everybody_is_made_once():
    made = []

    def frame_of(rights):
        made.append(rights)
        return rights.id.encode() if rights.id else b"whole"

    all_ = [Heard(EVERYTHING), Heard(NARROW), Heard(EVERYTHING), Heard(WIDE)]
    tell(all_, frame_of)
    assert [one.frames for one in all_] == [[b"whole"], [b"abcd1234"], [b"whole"], [b"wide1234"]]
    assert made == [EVERYTHING, NARROW, WIDE]
