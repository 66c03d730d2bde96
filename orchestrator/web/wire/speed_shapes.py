"""How fast models are: the shapes of the answers, and values into them. Pure."""

from collections.abc import Iterable
from typing import Literal, NotRequired

from typing_extensions import TypedDict

from orchestrator.core.values.speeds import Figure, Speeds
from orchestrator.desk.speeds import Speed
from orchestrator.records import BenchmarkRecord
from orchestrator.web.wire.instants import moment


class SpeedShape(TypedDict):
    """One figure of a model that its operator expects to have a value."""

    model: str
    figure: str
    expected: float
    bound_percent: float
    measured: float | None  # null: not yet
    source: str | None
    measured_at: str | None
    drifts: bool


class Measured(TypedDict):
    generation_tokens_per_second: float | None
    prompt_tokens_per_second: float | None
    first_token_seconds: float | None
    load_seconds: float | None


class Benchmark(Measured):
    model: str
    devices: str
    measured_at: str
    prompt_tokens: int
    answer_tokens: int
    requests: int
    serving: dict[str, object]


class BenchmarkKept(TypedDict):
    benchmark: Benchmark
    durable: NotRequired[Literal[False]]  # the disk has not taken it
    before: Measured | None  # what stood there before, under the same settings and devices
    speeds: list[SpeedShape]


class Benchmarks(TypedDict):
    benchmarks: list[Benchmark]
    speeds: list[SpeedShape]


def speeds(found: Iterable[Speed]) -> list[SpeedShape]:
    return [
        {
            "model": speed.model,
            "figure": speed.figure,
            "expected": speed.expected,
            "bound_percent": round(speed.bound * 100, 3),
            "measured": None if speed.measured is None else round(speed.measured, 3),
            "source": None if speed.source is None else speed.source.value,
            "measured_at": None if speed.at is None else moment(speed.at),
            "drifts": speed.drifts,
        }
        for speed in found
    ]


def measured(found: Speeds) -> Measured:
    def rounded(figure: Figure) -> float | None:
        value = found.of(figure)
        return None if value is None else round(value, 3)

    return {
        "generation_tokens_per_second": rounded(Figure.GENERATION),
        "prompt_tokens_per_second": rounded(Figure.PROMPT),
        "first_token_seconds": rounded(Figure.FIRST_TOKEN),
        "load_seconds": rounded(Figure.LOAD),
    }


def benchmark(record: BenchmarkRecord, serving: dict[str, object]) -> Benchmark:
    return {
        "model": record.model,
        "devices": record.devices,
        "measured_at": moment(record.measured_at),
        **measured(record.speeds),
        "prompt_tokens": record.prompt_tokens,
        "answer_tokens": record.answer_tokens,
        "requests": record.requests,
        "serving": serving,
    }
