"""Decisions and spans as JSON."""

from datetime import UTC, datetime

from orchestrator.conductor.history import Holder, Span
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId, MiB
from orchestrator.records import DecisionRecord
from orchestrator.web.wire import happenings

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def test_a_decision_keeps_its_sentence_its_reason_and_its_remedy():
    said = Decide(
        kind=DecisionKind.EVICT,
        text="Evicting a.",
        model=ModelName("a"),
        why="b needs the room",
        evicted=(ModelName("a"),),
        remedy="Pin it.",
    )
    assert happenings.decision(DecisionRecord(id=7, at=NOON, decision=said)) == {
        "id": 7,
        "at": "2026-01-15T12:00:00.000Z",
        "kind": "evict",
        "model": "a",
        "text": "Evicting a.",
        "why": "b needs the room",
        "evicted": ["a"],
        "remedy": "Pin it.",
    }


def test_a_span_that_goes_on_has_no_end():
    span = Span(
        id=3,
        holder=Holder.RESIDENT,
        name="a",
        device=DeviceId("g0"),
        held_bytes=5 * MiB,
        from_s=NOON.timestamp(),
    )
    shown = happenings.span(span)
    assert (shown["vram_mb"], shown["from_at"], shown["until_at"]) == (
        5,
        "2026-01-15T12:00:00.000Z",
        None,
    )
