"""What the tables say in numbers: kept beside the page as JSON, and drawn as bars.

A script of a table calls `bar` for every figure and `keep` at its end; the page reads what was
kept, and draws it. Colours are those of light and of dark pages alike.
"""

import argparse
import html
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LABEL_PX, WIDTH_PX, ROW_PX, VALUE_PX = 250, 420, 22, 130
OURS, THEIRS, INK, WHISKER = "#2f81f7", "#8b949e", "#6e7781", "#d29922"
DECADES_MIN = 1.5  # between the least and the most: then their logarithms are drawn


@dataclass(frozen=True)
class Bar:
    name: str
    value: float
    low: float | None = None  # of the rounds
    high: float | None = None


@dataclass
class Chart:
    title: str
    unit: str
    bars: list[Bar] = field(default_factory=list)


_charts: dict[str, Chart] = {}


def bar(chart: str, unit: str, name: str, value: float, rounds: Sequence[float] = ()) -> None:
    """One figure; the rounds that it is the middle of, if there were some."""
    low, high = (min(rounds), max(rounds)) if rounds else (None, None)
    _charts.setdefault(chart, Chart(chart, unit)).bars.append(Bar(name, value, low, high))


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, help="where the figures go as well")


def keep(to: Path | None) -> None:
    if to is not None:
        to.write_text(json.dumps([asdict(chart) for chart in _charts.values()], indent=1))


def charts_of(file: Path) -> list[Chart]:
    """What a script has kept; nothing if it did not come so far."""
    return charts_in(json.loads(file.read_text())) if file.exists() else []


def charts_in(told: Sequence[dict[str, Any]]) -> list[Chart]:
    return [
        Chart(each["title"], each["unit"], [Bar(**one) for one in each["bars"]]) for each in told
    ]


# --- the picture ---------------------------------------------------------------------------------


def svg(charts: Sequence[Chart]) -> str:
    """One under another, as wide as a page of text."""
    parts, top = [], 0
    for chart in charts:
        parts += _drawn(chart, top)
        top += (len(chart.bars) + 2) * ROW_PX
    width = LABEL_PX + WIDTH_PX + VALUE_PX
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _drawn(chart: Chart, top: int) -> list[str]:
    length = _scale(chart.bars)
    logarithmic = ", logarithmic" if _wide(chart.bars) else ""
    title = html.escape(f"{chart.title} ({chart.unit}{logarithmic})")
    parts = [f'<text x="4" y="{top + 16}" font-weight="bold">{title}</text>']
    for row, one in enumerate(chart.bars, start=1):
        y = top + row * ROW_PX
        colour = THEIRS if _is_a_peer(one.name) else OURS
        end = LABEL_PX + length(one.value)
        parts.append(
            f'<text x="{LABEL_PX - 6}" y="{y + 15}" text-anchor="end">{html.escape(one.name)}'
            f'</text><rect x="{LABEL_PX}" y="{y + 3}" width="{max(1.0, end - LABEL_PX):.1f}" '
            f'height="{ROW_PX - 6}" fill="{colour}"/>'
        )
        if one.low is not None and one.high is not None and one.high > one.low:
            low, high = LABEL_PX + length(one.low), LABEL_PX + length(one.high)
            parts.append(
                f'<path d="M{low:.1f} {y + 11}H{high:.1f}" stroke="{WHISKER}" stroke-width="2"/>'
            )
            end = max(end, high)
        parts.append(f'<text x="{end + 6:.1f}" y="{y + 15}">{one.value:.4g}</text>')
    return parts


def _is_a_peer(name: str) -> bool:
    return not name.startswith(("ours", "edge", "relay"))


def _highest(bars: Sequence[Bar]) -> float:
    return max([one.value for one in bars] + [one.high or 0.0 for one in bars])


def _lowest_above_none(bars: Sequence[Bar]) -> float:
    return min((one.value for one in bars if one.value > 0), default=1.0)


def _wide(bars: Sequence[Bar]) -> bool:
    highest = _highest(bars)
    return highest > 0 and math.log10(highest / _lowest_above_none(bars)) > DECADES_MIN


def _scale(bars: Sequence[Bar]) -> Callable[[float], float]:
    """How long a bar is, in pixels."""
    highest = _highest(bars) or 1.0
    if not _wide(bars):
        return lambda value: max(0.0, value) / highest * WIDTH_PX
    least = _lowest_above_none(bars) / 3
    decades = math.log10(highest / least)
    return lambda value: max(0.0, math.log10(max(value, least) / least)) / decades * WIDTH_PX
