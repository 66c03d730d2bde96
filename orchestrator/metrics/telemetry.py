"""Requests as traces, and the GenAI histograms of servers, for a collector of OpenTelemetry.

Only where the environment names one (OTEL_EXPORTER_OTLP_ENDPOINT); its other variables hold too,
because the exporters read them. Prompts and answers are in none of it.
"""
# ruff: noqa: PLC0415 - an extra, imported where it is wanted

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.metrics.families import UNKNOWN_MODEL
from orchestrator.metrics.requests import status_of
from orchestrator.wall import WALL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.desk.activity import Activity, Run

log = logging.getLogger("orchestrator")

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
CLOSE_S = 3.0  # for what is left to be sent; a collector that is away loses it
PROVIDER = "vram_orchestrator"
# By the end of a path; what is none of these is told by its path's last word.
OPERATIONS = {"completions": "text_completion", "embeddings": "embeddings", "embed": "embeddings"}


def telemetry_from(
    environ: Mapping[str, str], activity: Activity, version: str
) -> Telemetry | None:
    """None where no collector is named, or the package for it is not installed."""
    if not environ.get(ENDPOINT):
        return None
    try:
        return Telemetry(activity, version)
    except ImportError:
        log.warning("%s is set; for traces: pip install 'vram-orchestrator[otlp]'", ENDPOINT)
        return None


class Telemetry:
    """Hears of every request that has ended. Sending is done by threads of the exporters."""

    def __init__(self, activity: Activity, version: str) -> None:
        """Raise ImportError without the packages."""
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        about = Resource.create({"service.name": "vram-orchestrator", "service.version": version})
        self._traces = TracerProvider(resource=about, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        self._meters = MeterProvider([reader], resource=about, shutdown_on_exit=False)
        self._tracer = self._traces.get_tracer("orchestrator", version)
        meter = self._meters.get_meter("orchestrator", version)
        self._duration = meter.create_histogram("gen_ai.server.request.duration", unit="s")
        self._first = meter.create_histogram("gen_ai.server.time_to_first_token", unit="s")
        self._each = meter.create_histogram("gen_ai.server.time_per_output_token", unit="s")
        activity.watch(self.ended, lambda _: None)

    def ended(self, run: Run) -> None:
        from opentelemetry.trace import SpanKind

        if run.ended_s is None:
            return
        labels = labels_of(run)
        self._duration.record(max(0.0, run.ended_s - run.began_s), labels)
        if run.first_byte_s is not None:
            self._first.record(max(0.0, run.first_byte_s - run.began_s), labels)
        usage = run.usage
        told: dict[str, str | int | float] = {**labels, "orchestrator.wait_s": run.wait_s}
        told["orchestrator.load_s"] = run.load_s
        if usage is not None and usage.tokens_in is not None:
            told["gen_ai.usage.input_tokens"] = usage.tokens_in
        if usage is not None and usage.tokens_out is not None:
            told["gen_ai.usage.output_tokens"] = usage.tokens_out
        if usage is not None and usage.tokens_per_s:
            self._each.record(1 / usage.tokens_per_s, labels)
        span = self._tracer.start_span(
            f"{labels['gen_ai.operation.name']} {labels['gen_ai.request.model']}",
            kind=SpanKind.SERVER,
            attributes=told,
            start_time=_ns(run.began_s),
        )
        span.end(_ns(run.ended_s))

    async def close(self) -> None:
        """Send what is left, within a bound."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self._traces.shutdown()
        self._meters.shutdown(CLOSE_S * 1000)


def labels_of(run: Run) -> dict[str, str]:
    """Bounded: what a client made up is in none of them."""
    last = run.path.rstrip("/").rpartition("/")[2]
    chats = "chat" in run.path or last == "messages"
    labels = {
        "gen_ai.operation.name": "chat" if chats else OPERATIONS.get(last, "generate_content"),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": UNKNOWN_MODEL if run.model is None else run.model,
    }
    status = status_of(run)
    return labels if status == "success" else {**labels, "error.type": status}


def _ns(instant_s: float) -> int:
    return int(WALL.told(instant_s) * 1e9)
