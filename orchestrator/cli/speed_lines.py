"""How fast models are, as the API says it, in tables. Pure, as `render`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.cli.screen import table

if TYPE_CHECKING:  # the shapes of the answers: the command line starts without the web
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.cli.screen import Part
    from orchestrator.web.wire.speed_shapes import (
        Benchmark,
        BenchmarkKept,
        Benchmarks,
        SpeedShape,
    )

NOTHING = "-"
_FIGURES: Mapping[str, tuple[str, str]] = {
    "generation_tokens_per_second": ("writes", "{:.1f} tokens/s"),
    "prompt_tokens_per_second": ("reads", "{:.1f} tokens/s"),
    "first_token_seconds": ("first token", "{:.3f} s"),
    "load_seconds": ("loads in", "{:.1f} s"),
}
_RATES = frozenset({"generation_tokens_per_second", "prompt_tokens_per_second"})


def bench_lines(answer: BenchmarkKept) -> list[Part]:
    """What was measured, beside what stood there before and what is expected."""
    found = answer["benchmark"]
    now: Mapping[str, Any] = found
    before: Mapping[str, Any] = answer["before"] or {}
    expected = {speed["figure"]: speed for speed in answer["speeds"]}
    rows = (
        (word, _in_words(figure, now[figure]), _in_words(figure, before.get(figure)), *_held(speed))
        for figure, (word, _) in _FIGURES.items()
        for speed in (expected.get(figure),)
        if now[figure] is not None or speed is not None
    )
    tokens = f"{found['prompt_tokens']} tokens read, {found['answer_tokens']} written"
    return [
        f"{found['model']} on {found['devices']}, {_settings(found)}",
        f"The median of {found['requests']} requests: {tokens}.",
        table(("", "NOW", "BEFORE", "EXPECTED", ""), rows, right="NOW BEFORE EXPECTED"),
    ]


def kept_lines(answer: Benchmarks) -> list[Part]:
    if not answer["benchmarks"] and not answer["speeds"]:
        return ["Nothing was measured yet: `orchestrator bench NAME` does."]
    head = ("MODEL", "MEASURED", "WRITES", "READS", "FIRST TOKEN", "LOADS IN", "ON", "SETTINGS")
    lines: list[Part] = []
    if answer["benchmarks"]:
        lines += [table(head, map(_row, answer["benchmarks"])), ""]
    if answer["speeds"]:
        lines += [*speed_lines(answer["speeds"]), ""]
    return lines[:-1]


def speed_lines(speeds: Iterable[SpeedShape]) -> Iterator[Part]:
    """Of models with `expected`, what they do."""
    rows = (
        (
            speed["model"],
            _FIGURES[speed["figure"]][0],
            _in_words(speed["figure"], speed["measured"]),
            *_held(speed),
            _by(speed),
        )
        for speed in speeds
    )
    yield table(("SPEED OF", "", "MEASURED", "EXPECTED", "", "BY"), rows, right="MEASURED EXPECTED")


def _row(found: Benchmark) -> Sequence[str]:
    figures: Mapping[str, Any] = found
    return (
        found["model"],
        _moment(found["measured_at"]),
        *(_in_words(figure, figures[figure]) for figure in _FIGURES),
        found["devices"],
        _settings(found),
    )


def _in_words(figure: str, value: float | None) -> str:
    return NOTHING if value is None else _FIGURES[figure][1].format(value)


def _held(speed: SpeedShape | None) -> tuple[str, str]:
    """What is expected, and whether it is so."""
    if speed is None:
        return NOTHING, ""
    sign = "-" if speed["figure"] in _RATES else "+"
    expected = f"{speed['expected']:g} {sign}{speed['bound_percent']:g} %"
    if speed["measured"] is None:
        return expected, ""
    return expected, "slower than expected" if speed["drifts"] else "as expected"


def _by(speed: SpeedShape) -> str:
    if speed["source"] is None or speed["measured_at"] is None:
        return "not measured yet"
    return f"{speed['source']}, {_moment(speed['measured_at'])}"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone():%m-%d %H:%M}"


def _settings(found: Benchmark) -> str:
    serving: Mapping[str, Any] = found["serving"]
    layers = serving["gpu_layers"]
    words = [
        f"context {serving['context_size']}",
        f"{serving['slots']} slot{'s' if serving['slots'] != 1 else ''}",
        str(serving["cache_type_k"]),
    ]
    return ", ".join(words + ([] if layers is None else [f"{layers} layers on GPUs"]))
