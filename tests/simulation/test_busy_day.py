"""The whole daemon but its sockets and its disk, on an unreliable machine. A seed is a day.

Held in every day, after every event (`checks.py`): nobody is served by what does not run, nobody in
use is stopped but by force, what is pinned leaves by its own unload only, no lease ends unheard, no
start finds less room than could have been known, every ticket ends once and within its bound, who
waits and could have room gets it. In the end what the daemon believes is what runs, and nothing is
left: no lease, no ticket, no caller. `make seed N=17` lives through one day again; days that found
something are kept in `regressions/` and lived through first.
"""

import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.values.residents import Resident, ResidentState
from tests.factories import resident
from tests.simulation.coverage import Coverage
from tests.simulation.day import Day, DayPlan, live
from tests.simulation.faults import Fault
from tests.simulation.life import Life
from tests.simulation.regressions import kept, read, save, shrink
from tests.simulation.virtual_time import run
from tests.simulation.watch import Finding

SEEDS = 100
SEEDS_QUICK = 24  # of them in `make check`; `make test` lives through the others as well
SEEING_MOST = (57, 49, 3, 13, 22)  # together they see all, or nearly


def test_days_on_which_something_was_found():
    assert not {path.name: found for path in kept() if (found := live(read(path)).findings)}


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=[pytest.mark.more_seeds] if seed >= SEEDS_QUICK else [])
        for seed in range(SEEDS)
    ],
)
def test_busy_day(seed: int) -> None:
    plan = DayPlan.of(seed)
    assert not live(plan).findings, f"faults of the day: {sorted(plan.faults)}"


def test_the_days_see_all_that_can_happen():
    """All events, effects, refusals, kinds of decisions and transitions, but for named ones."""
    coverage = Coverage()
    others = (seed for seed in range(SEEDS) if seed not in SEEING_MOST)
    for seed in (*SEEING_MOST, *others):
        coverage.add(live(DayPlan.of(seed)))
        if not coverage.missing:
            break
    assert not coverage.missing


def test_the_same_plan_is_the_same_day():
    plan = DayPlan.of(4)
    one, other = live(plan), live(plan)
    assert (one.events, one.effects, one.moves) == (other.events, other.effects, other.moves)


def test_a_day_that_found_something_is_made_smaller_and_kept(tmp_path):
    plan = DayPlan.of(3)

    def finds(tried: DayPlan) -> str | None:
        return "check" if Fault.HANGS in tried.faults and "owner" in tried.people else None

    plan = DayPlan(seed=3, faults=frozenset(Fault), people=plan.people)
    smaller = shrink(plan, "check", finds)
    assert smaller.faults == {Fault.HANGS}
    assert len(smaller.people) < len(plan.people)
    assert read(save(smaller, ("check", "what it said"), tmp_path)) == smaller


GRANTED = resident("a", gib=4, since_s=5.0)


def held(now: Resident) -> bool:
    """What a caller to whom GRANTED was granted finds, who looks at it as it is now."""

    async def look() -> bool:
        day = Day(DayPlan(seed=1))
        life = Life(
            world=day.world,
            catalogue=day.catalogue,
            watch=day.watch,
            rows=day.rows,
            outlives=day.outlives,
        )
        async with asyncio.TaskGroup() as tasks:
            life.conductor = life._conductor(await life.registry.recall(), tasks)
            life.conductor.scheduler.state.ledger.put(now)
            found = day.still_serves(life, GRANTED)
            life.conductor.close()
        return found

    return run(look())


def test_a_server_that_is_stopped_while_it_is_leased_is_a_finding():
    with pytest.raises(ExceptionGroup) as found:
        held(replace(GRANTED, state=ResidentState.UNLOADING, unpromised=True))
    assert found.group_contains(Finding, match="a-1 is unloading while it is leased")


@pytest.mark.parametrize(
    "state", [ResidentState.LOADING, ResidentState.READY, ResidentState.UNLOADING]
)
def test_a_server_that_died_and_was_started_again_is_not_the_one_that_was_leased(
    state: ResidentState,
) -> None:
    ready_s = 9.0 if state is ResidentState.READY else None
    assert not held(replace(GRANTED, state=state, ready_s=ready_s, unpromised=True))
