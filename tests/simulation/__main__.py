"""Lives through days until so many events were seen: `make simulate EVENTS=1000000 SEED=1`.

A day on which something is found is made smaller and kept in `regressions/`. Exits with 1 then.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count

from tests.simulation.coverage import Coverage
from tests.simulation.day import DayPlan, live
from tests.simulation.regressions import save, shrink
from tests.simulation.watch import Watch

SEED_STRIDE = 1_000_000  # days of one run; two runs with different seeds share none
PROGRESS_DAYS = 50


def _live(plan: DayPlan) -> tuple[DayPlan, Watch]:
    logging.disable(logging.CRITICAL)  # what the daemon says would be longer than the day
    watch = live(plan)
    watch.world = None
    watch.tickets.clear()
    return plan, watch


def _check_found(plan: DayPlan) -> str | None:
    _, watch = _live(plan)
    return watch.findings[0][0] if watch.findings else None


def _days(seed: int, jobs: int) -> Iterator[tuple[DayPlan, Watch]]:
    plans = (DayPlan.of(seed * SEED_STRIDE + number) for number in count())
    if jobs == 1:
        yield from map(_live, plans)
        return
    with ProcessPoolExecutor(jobs) as pool:
        under_way = [pool.submit(_live, next(plans)) for _ in range(2 * jobs)]
        try:
            while True:
                yield under_way.pop(0).result()
                under_way.append(pool.submit(_live, next(plans)))
        finally:
            for one in under_way:
                one.cancel()


def simulate(events: int, seed: int, jobs: int) -> int:
    """How many days found something."""
    coverage, began_s = Coverage(), time.monotonic()
    seen = days = lives = crashes = failing = 0
    for plan, watch in _days(seed, jobs):
        days, seen = days + 1, seen + watch.count
        lives, crashes = lives + watch.lives, crashes + watch.crashes
        coverage.add(watch)
        if watch.findings:
            failing += 1
            _report(plan, watch.findings[0])
        if days % PROGRESS_DAYS == 0:
            print(f"{seen} events in {days} days", file=sys.stderr)
        if seen >= events:
            break
    spent_s = time.monotonic() - began_s
    print("\n".join(coverage.table()))
    print(
        f"{seen} events in {days} days, {lives} lives of the daemon, {crashes} of them crashed; "
        f"{spent_s:.0f} s, {seen / spent_s:.0f} events/s; "
        f"not seen: {', '.join(coverage.missing) or 'nothing'}; findings: {failing}"
    )
    return failing


def _report(plan: DayPlan, finding: tuple[str, str]) -> None:
    check, text = finding
    print(f"day {plan.seed}: {check}: {text}")
    smaller = shrink(plan, check, _check_found)
    print(f"kept, as far as it could be made smaller, in {save(smaller, finding)}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    return 1 if simulate(asked.events, asked.seed, asked.jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
