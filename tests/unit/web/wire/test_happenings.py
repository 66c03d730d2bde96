"""Decisions and spans as JSON."""

from datetime import UTC, datetime

from orchestrator.conductor.history import Holder, Span
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId, MiB
from orchestrator.downloads import Download
from orchestrator.hub import Phase
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


def test_a_download_of_unknown_size_has_none():
    one = Download(source="r", file="a.gguf", phase=Phase.ASKING, started_s=NOON.timestamp())
    told = happenings.download(one)
    assert (told["total_bytes"], told["bytes_per_second"]) == (None, None)
    assert told["started_at"] == "2026-01-15T12:00:00.000Z"


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
