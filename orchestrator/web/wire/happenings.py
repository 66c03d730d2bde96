"""What happened, as the history and the event stream show it. Pure, as `wire`."""

from orchestrator.conductor.history import Span
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.vram import to_mb
from orchestrator.records import DecisionRecord
from orchestrator.web.wire import shapes
from orchestrator.web.wire.error_answers import error_body, error_of
from orchestrator.web.wire.instants import instant, instant_or_none, moment


def decision(record: DecisionRecord) -> shapes.Decision:
    said = record.decision
    return {
        "id": record.id,
        "at": moment(record.at),
        "kind": said.kind,
        "model": said.model,
        "text": said.text,
        "why": said.why,
        "evicted": [str(name) for name in said.evicted],
        "remedy": said.remedy,
    }


def span(value: Span) -> shapes.SpanShape:
    return {
        "span_id": value.id,
        "holder": value.holder,
        "name": value.name,
        "device": value.device,
        "vram_mb": to_mb(value.held_bytes),
        "from_at": instant(value.from_s),
        "until_at": instant_or_none(value.until_s),
    }


def refusal(value: Refusal) -> dict[str, object]:
    """As much of the one error body as says why, and when to come back."""
    body = error_body(error_of(value), "")
    return {name: body[name] for name in ("code", "detail", "remedy", "retry_after_seconds")}
