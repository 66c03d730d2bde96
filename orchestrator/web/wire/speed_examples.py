"""What the OpenAPI document shows of benchmarks."""

from dataclasses import asdict
from datetime import UTC, datetime

from orchestrator.core.values.specs import ModelName, Serving
from orchestrator.core.values.speeds import Figure, Speeds
from orchestrator.desk.speeds import Speed, SpeedSource
from orchestrator.records import BenchmarkRecord
from orchestrator.web.wire import speed_shapes

MODEL = ModelName("qwen3-vl-30b")
SERVING = Serving(context_size=16384)
MEASURED_AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)

_BENCHMARK = BenchmarkRecord(
    model=MODEL,
    settings="9f2c41d07a55e310",
    devices="GPU-6a1f7c52-1111-2222-3333-444455556666",
    measured_at=MEASURED_AT,
    serving=SERVING,
    speeds=Speeds(
        generation_tokens_per_second=38.9,
        prompt_tokens_per_second=1890.0,
        first_token_seconds=0.31,
        load_seconds=14.2,
    ),
    prompt_tokens=512,
    answer_tokens=128,
    requests=3,
)
SPEED = Speed(
    model=MODEL,
    figure=Figure.GENERATION,
    expected=45.0,
    bound=0.1,
    measured=38.9,
    source=SpeedSource.BENCHMARK,
    at=MEASURED_AT,
    drifts=True,
)
_SHOWN = speed_shapes.benchmark(_BENCHMARK, asdict(SERVING))
BENCHMARKS: speed_shapes.Benchmarks = {
    "benchmarks": [_SHOWN],
    "speeds": speed_shapes.speeds([SPEED]),
}
BENCHMARK: speed_shapes.BenchmarkKept = {
    "benchmark": _SHOWN,
    "before": speed_shapes.measured(Speeds(generation_tokens_per_second=45.2)),
    "speeds": speed_shapes.speeds([SPEED]),
}
