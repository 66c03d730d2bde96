"""What a replay of a history comes to, in a table and in sentences. Pure, as `render`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.render import NOTHING, duration
from orchestrator.cli.screen import table
from orchestrator.replay.scenarios import said_size
from orchestrator.replay.trace import at_quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.cli.screen import Part
    from orchestrator.replay.scenarios import Scenario
    from orchestrator.replay.trace import Tally, Trace, VirtualDevice

AS_IT_WAS = "as it was"
REPLAYED = "replayed"
LITTLE = 0.05  # of what was; less is said to be no difference

Column = tuple["Scenario", "Tally"]


def simulation_lines(trace: Trace, replayed: Column, others: Sequence[Column]) -> list[Part]:
    columns = [(REPLAYED, replayed[1]), *((scenario.title, out) for scenario, out in others)]
    lines: list[Part] = [_about(trace), ""]
    lines.append(_figures(trace.was, columns))
    lines += ["", *(_verdict(scenario, out, replayed[1]) for scenario, out in others)]
    return lines + _doubts(trace)


def _about(trace: Trace) -> str:
    requests, models = len(trace.demands), len({demand.model for demand in trace.demands})
    lasted_s = trace.was.lasted_s if trace.was else 0.0
    return (
        f"{_many(requests, 'request')} for {_many(models, 'model')} in {duration(lasted_s)}, "
        f"on {_on(trace.devices)}."
    )


def _on(devices: Sequence[VirtualDevice]) -> str:
    return " and ".join(f"{device.name} ({said_size(device.total_bytes)})" for device in devices)


Row = tuple[str, "Callable[[Tally], str]"]


def _wait_at(share: float) -> Callable[[Tally], str]:
    return lambda tally: _seconds(at_quantile(tally.waits_s, share))


ROWS: tuple[Row, ...] = (
    ("answered", lambda tally: str(len(tally.answered))),
    ("not answered", lambda tally: str(sum(tally.refused.values()))),
    ("loads", lambda tally: str(tally.loads)),
    ("evictions", lambda tally: str(tally.evictions)),
    ("time spent loading", lambda tally: _seconds(tally.reload_s)),
    ("waited, median", _wait_at(0.5)),
    ("waited, p95", _wait_at(0.95)),
    ("waited, longest", _wait_at(1.0)),
    ("waited, all together", lambda tally: _seconds(sum(tally.waits_s))),
)
LOADED: Row = (
    "models loaded, on average",
    lambda tally: f"{tally.models_loaded:.1f}" if tally.loaded_s else NOTHING,
)


def _figures(was: Tally | None, columns: Sequence[tuple[str, Tally]]) -> Part:
    """Cells are aligned to the right by hand: titles have blanks in them."""
    shown = ([(AS_IT_WAS, was)] if was is not None else []) + list(columns)
    rows = [[label, *(say(tally) for _, tally in shown)] for label, say in (*ROWS, LOADED)]
    head = ["", *(title for title, _ in shown)]
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    aligned = [
        [row[0], *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in (head, *rows)
    ]
    return table(aligned[0], aligned[1:])


def _verdict(scenario: Scenario, tally: Tally, replayed: Tally) -> str:
    """Whether it would help, beside the same history replayed on what there was."""
    before_s, after_s = sum(replayed.waits_s), sum(tally.waits_s)
    before, after = (sum(each.refused.values()) for each in (replayed, tally))
    parts = [_change("requests not answered", before, after, str)] if before != after else []
    parts += [
        _change("loads", replayed.loads, tally.loads, str),
        _change("waiting, all together", before_s, after_s, _seconds),
    ]
    return f"{scenario.title}: {'; '.join(parts)}."


def _change(what: str, before: float, after: float, say: Callable[[float], str] | type[str]) -> str:
    if abs(after - before) <= LITTLE * max(before, after):
        return f"no difference in {what}"
    share = f" ({(after - before) / before:+.0%})" if before else ""
    return f"{what} {say(before)} → {say(after)}{share}"


def _doubts(trace: Trace) -> list[str]:
    lines = []
    if unknown := sum(trace.undescribed.values()):
        names = ", ".join(sorted(trace.undescribed)[:5])
        lines.append(f"Left out: {_many(unknown, 'request')} for what is no model now ({names}).")
    if trace.not_kept:
        lines.append(f"Missing: {_many(trace.not_kept, 'request')} that the daemon did not keep.")
    return lines


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _seconds(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else f"{seconds:.1f} s"


def simulation_json(trace: Trace, replayed: Column, others: Sequence[Column]) -> dict[str, object]:
    """The same for programs."""
    return {
        "requests": len(trace.demands),
        "undescribed": dict(trace.undescribed),
        "not_kept": trace.not_kept,
        "as_it_was": None if trace.was is None else _told(trace.was),
        "replayed": _told(replayed[1]),
        "scenarios": [
            {
                "title": scenario.title,
                "policy": scenario.policy,
                "devices": [
                    {"id": device.id, "kind": device.kind, "total_mb": device.total_bytes >> 20}
                    for device in scenario.devices
                ],
            }
            | _told(tally)
            for scenario, tally in others
        ],
    }


def _told(tally: Tally) -> dict[str, object]:
    waits_s = tally.waits_s
    return {
        "answered": len(tally.answered),
        "not_answered": dict(tally.refused),
        "loads": tally.loads,
        "evictions": tally.evictions,
        "load_seconds": round(tally.reload_s, 3),
        "wait_seconds": {
            "p50": round(at_quantile(waits_s, 0.5), 3),
            "p95": round(at_quantile(waits_s, 0.95), 3),
            "max": round(at_quantile(waits_s, 1.0), 3),
            "sum": round(sum(waits_s), 3),
        },
        "models_loaded": round(tally.models_loaded, 3) if tally.loaded_s else None,
    }
