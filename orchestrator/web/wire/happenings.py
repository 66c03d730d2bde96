"""What happened, as the history and the event stream show it. Pure, as `wire`."""

from orchestrator.conductor.history import Span
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.vram import to_mb
from orchestrator.downloads import Download
from orchestrator.records import DecisionRecord, JobRecord, RequestRecord
from orchestrator.wall import WALL
from orchestrator.web.wire import event_shapes, request_shapes
from orchestrator.web.wire.error_answers import error_body, error_of
from orchestrator.web.wire.instants import instant, instant_or_none, moment


def decision(record: DecisionRecord) -> event_shapes.Decision:
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


def span(value: Span) -> event_shapes.SpanShape:
    return {
        "span_id": value.id,
        "holder": value.holder,
        "name": value.name,
        "device": value.device,
        "vram_mb": to_mb(value.held_bytes),
        "from_at": instant(value.from_s),
        "until_at": instant_or_none(value.until_s),
    }


def request(record: RequestRecord, now_s: float) -> request_shapes.RequestFigures:
    began_s = record.began_at.timestamp()
    until_s = WALL.told(now_s) if record.ended_at is None else record.ended_at.timestamp()
    return {
        "id": record.id,
        "asked": record.asked,
        "model": record.model,
        "protocol": record.protocol,
        "path": record.path,
        "client": record.client,
        "key": record.key,
        "owner": record.owner,
        "streaming": record.streaming,
        "priority": record.priority,
        "began_at": moment(record.began_at),
        "ended_at": None if record.ended_at is None else moment(record.ended_at),
        "total_seconds": _seconds(until_s - began_s),
        "wait_seconds": _seconds(record.wait_s),
        "load_seconds": _seconds(record.load_s),
        "first_byte_seconds": (
            None if record.first_byte_s is None else _seconds(record.first_byte_s)
        ),
        "why": record.why,
        "outcome": record.outcome,
        "status": record.status,
        "tokens_in": record.tokens_in,
        "tokens_out": record.tokens_out,
        "tokens_per_second": (
            None if record.tokens_per_s is None else round(record.tokens_per_s, 1)
        ),
    }


def _seconds(exact: float) -> float:
    """To the millisecond. Never below 0: the edge's clock may differ from ours by some of them."""
    return round(max(exact, 0.0), 3)


def refusal(value: Refusal) -> dict[str, object]:
    """As much of the one error body as says why, and when to come back."""
    body = error_body(error_of(value), "")
    return {name: body[name] for name in ("code", "detail", "remedy", "retry_after_seconds")}


def download(one: Download) -> request_shapes.DownloadShape:
    return {
        "source": one.source,
        "file": one.file,
        "phase": one.phase,
        "detail": one.detail,
        "done_bytes": one.done_bytes,
        "total_bytes": one.total_bytes,
        "bytes_per_second": None if one.rate is None else round(one.rate, 1),
        "started_at": instant(one.started_s),
    }


def job(run: JobRecord) -> event_shapes.JobShape:
    return {
        "name": run.name,
        "every_seconds": run.every_s,
        "last_run_at": None if run.last_at is None else moment(run.last_at),
        "last_seconds": None if run.last_s is None else round(run.last_s, 3),
        "last_error": run.last_error,
        "next_run_at": None if run.next_at is None else moment(run.next_at),
    }
