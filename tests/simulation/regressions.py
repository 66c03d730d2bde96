"""Days on which something was found: made smaller as far as that is cheap, and kept as files.

A file says what was found, and the plan of the day. The ordinary test lives through all of them
first. What is found there gets a play of its own beside its mending: a day may change with the
simulation, and then shows nothing any more.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.simulation.day import DayPlan
from tests.simulation.faults import Fault

FOLDER = Path(__file__).parent / "regressions"
TRIES_MAX = 60  # days that are lived again to make one smaller
SHRINK_S_MAX = 90.0

Finds = Callable[[DayPlan], str | None]  # which check found something on such a day


def shrink(plan: DayPlan, check: str, finds: Finds) -> DayPlan:
    """Fewer faults, fewer kinds of people, fewer of them, a shorter day: the same check still finds
    something.
    """
    tries, began_s = 0, time.monotonic()
    progress = True
    while progress:
        progress = False
        for smaller in _smaller(plan):
            tries += 1
            if tries > TRIES_MAX or time.monotonic() - began_s > SHRINK_S_MAX:
                return plan
            if finds(smaller) == check:
                plan, progress = smaller, True
                break
    return plan


def _smaller(plan: DayPlan) -> Iterator[DayPlan]:
    if plan.length_s > 50:
        yield replace(plan, length_s=plan.length_s / 2)
    for fault in sorted(plan.faults):
        yield replace(plan, faults=plan.faults - {fault})
    for kind in sorted(plan.people):
        if len(plan.people) > 1:
            yield replace(plan, people=plan.people - {kind})
    if plan.crowd > 0.2:
        yield replace(plan, crowd=plan.crowd / 2)


def save(plan: DayPlan, finding: tuple[str, str], folder: Path = FOLDER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{finding[0].replace(' ', '_')}_{plan.seed}.json"
    said = {
        "found": f"{finding[0]}: {finding[1]}"[:1000],
        "seed": plan.seed,
        "length_s": plan.length_s,
        "faults": sorted(plan.faults),
        "people": sorted(plan.people),
        "crowd": plan.crowd,
    }
    path.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> DayPlan:
    said = json.loads(path.read_text(encoding="utf-8"))
    return DayPlan(
        seed=said["seed"],
        length_s=said["length_s"],
        faults=frozenset(map(Fault, said["faults"])),
        people=frozenset(said["people"]),
        crowd=said["crowd"],
    )


def kept() -> list[Path]:
    return sorted(FOLDER.glob("*.json"))
