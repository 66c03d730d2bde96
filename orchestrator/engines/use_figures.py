"""Reads from what a program says of itself whether it works for somebody.

Metrics as Prometheus reads them: gauges count what is in work, counters grow with every request.
JSON: a number, a list by its length, or true; a dot in a name leads deeper.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.ports import Use

# What servers of language models call it; used where the operator names nothing.
KNOWN_GAUGES = (
    *("llamacpp:requests_processing", "llamacpp:requests_deferred"),
    *("vllm:num_requests_running", "vllm:num_requests_waiting"),
    *("sglang:num_running_reqs", "sglang:num_queue_reqs"),
    *("tgi_batch_current_size", "tgi_queue_size"),
)
KNOWN_COUNTERS = (
    *("llamacpp:prompt_tokens_total", "llamacpp:tokens_predicted_total"),
    *("vllm:request_success_total", "vllm:prompt_tokens_total"),
    *("sglang:num_requests_total", "sglang:prompt_tokens_total"),
    *("tgi_request_count",),
)
KNOWN = (*KNOWN_GAUGES, *KNOWN_COUNTERS)

_SAMPLE = re.compile(
    r"^([A-Za-z_:][\w:]*)(?:\{[^\n]*\})?[ \t]+([+-]?(?:\d[\d.eE+-]*|\.\d+))(?:[ \t].*)?$",
    re.MULTILINE,
)
_COUNTER = re.compile(r"^# TYPE ([A-Za-z_:][\w:]*) counter", re.MULTILINE)
_NOTHING = Use(busy_slots=None, served_total=None)


@dataclass(frozen=True, slots=True)
class _Figure:
    value: float
    grows: bool  # a counter


def use_in(text: str, names: Sequence[str]) -> Use:
    """The use that the text tells under these names; both None where it has none of them."""
    figures = list(_json_figures(text, names) or _metrics(text, names))
    gauges = [figure.value for figure in figures if not figure.grows]
    counters = [figure.value for figure in figures if figure.grows]
    if not figures:
        return _NOTHING
    # Half a request is one that runs.
    busy = sum(max(0, -(-value // 1)) for value in gauges) if gauges else None
    return Use(
        busy_slots=None if busy is None else int(busy),
        served_total=sum(counters) if counters else None,
    )


def _metrics(text: str, names: Sequence[str]) -> Iterator[_Figure]:
    wanted = set(names)
    counters = set(_COUNTER.findall(text))
    for name, value in _SAMPLE.findall(text):
        if name not in wanted:
            continue
        grows = name in counters or name.endswith("_total")
        try:
            yield _Figure(float(value), grows)
        except ValueError:  # digits and dots that are no number: it does not tell
            continue


def _json_figures(text: str, names: Sequence[str]) -> list[_Figure]:
    """None of an answer that is no JSON object."""
    if not text.lstrip().startswith("{"):
        return []
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found = (_amount(said, name.split(".")) for name in names)
    return [_Figure(amount, grows=False) for amount in found if amount is not None]


def _amount(said: object, keys: Sequence[str]) -> float | None:
    for key in keys:
        if not isinstance(said, dict) or key not in said:
            return None
        said = said[key]
    if isinstance(said, list | dict):
        return float(len(said))
    try:
        return float(said) if isinstance(said, int | float) else None
    except OverflowError:
        return None
