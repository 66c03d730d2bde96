"""What the tables in virtual time rest on: bounds, other programs' rules, formulas."""

import random
import sys
from itertools import combinations
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
sys.path.insert(0, str(BENCH))  # its scripts find each other there

import bench_eviction  # noqa: E402 - the path first
import bench_oversubscription  # noqa: E402
import bench_prediction  # noqa: E402
import peers_rules  # noqa: E402
import traces  # noqa: E402
from clairvoyant import least_reload_s  # noqa: E402

from orchestrator.core.values.specs import ModelName  # noqa: E402
from orchestrator.core.values.vram import GiB  # noqa: E402
from orchestrator.gguf.reader import read_header  # noqa: E402
from orchestrator.replay.policies import PolicyName  # noqa: E402
from orchestrator.replay.trace import Demand  # noqa: E402
from orchestrator.replay.virtual_machine import STOP_S, VirtualMachine  # noqa: E402

SEEDS = range(1, 11)  # those of the table
SHORT = 60  # requests: the table's own traces are longer

# --- eviction --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", traces.KINDS)
def test_no_policy_is_better_than_the_clairvoyant_and_they_differ(kind):
    found = bench_eviction.ratios(kind, SEEDS, SHORT)
    assert min(min(each) for each in found.values()) >= 1 - 1e-9
    assert len({tuple(each) for each in found.values()}) >= 4
    alone = found[PolicyName.ONE_AT_A_TIME]
    assert sum(alone) == max(map(sum, found.values()))


def test_a_seed_is_always_the_same_trace():
    assert traces.trace("agent", 3, 50) == traces.trace("agent", 3, 50)
    assert traces.trace("agent", 3, 50) != traces.trace("agent", 4, 50)


def tried_s(asked, models, room_bytes, resident=frozenset()):
    """Every way to choose who leaves, also without need."""
    if not asked:
        return 0.0
    wanted, *rest = asked
    if wanted in resident:
        return tried_s(rest, models, room_bytes, resident)
    best = float("inf")
    for count in range(len(resident) + 1):
        for few in combinations(sorted(resident), count):
            kept = {wanted, *few}
            if sum(models[name].footprint.device_bytes for name in kept) <= room_bytes:
                best = min(best, tried_s(rest, models, room_bytes, frozenset(kept)))
    return models[wanted].load_s + best


@pytest.mark.parametrize("seed", range(20))
def test_the_clairvoyant_is_exact(seed):
    rng = random.Random(seed)
    models = traces.catalogue({name: rng.uniform(2, 9) for name in "abcde"})
    asked = [ModelName(rng.choice("abcde")) for _ in range(9)]
    room_bytes = int(rng.uniform(9, 16) * GiB)
    least_s = least_reload_s(asked, models, room_bytes)
    assert least_s == pytest.approx(tried_s(asked, models, room_bytes))


# --- other programs' rules -------------------------------------------------------------------

MODELS = traces.catalogue({"a": 10, "b": 10, "c": 10, "small": 1, "huge": 20})
CARD = traces.card(24)


def served(rule, *asked, serves_s=1.0, patience_s=1000.0):
    """Who was served, in order; and what came of it all."""
    demands = [Demand(at_s=at_s, model=ModelName(name), serves_s=serves_s) for at_s, name in asked]
    tally = VirtualMachine([CARD], rule, MODELS, patience_s=patience_s).live(demands)
    return "".join(one.demand.model for one in tally.answered), tally


def test_one_at_a_time_serves_those_who_want_the_same_together():
    asked = [(number / 100, name) for number, name in enumerate("abcabc")]
    order, tally = served(peers_rules.OneAtATime(CARD), *asked)
    assert order == "aabbcc"
    assert (tally.loads, tally.evictions) == (3, 2)


def test_one_at_a_time_has_one_also_where_two_would_fit():
    _, tally = served(peers_rules.OneAtATime(CARD), (0, "a"), (50, "small"), (99, "a"))
    assert tally.loads == 3


def test_one_at_a_time_lets_who_wants_the_busy_one_in_before_who_waits():
    asked = [(0, "a"), (7, "b"), (10, "a"), (14, "a"), (18, "a")]
    order, _ = served(peers_rules.OneAtATime(CARD), *asked, serves_s=5)
    assert order == "aaaab"


def test_by_count_the_one_that_was_not_used_for_longest_leaves():
    asked = [(0, "a"), (20, "b"), (40, "a"), (60, "c"), (80, "a"), (99, "b")]
    _, tally = served(peers_rules.LruByCount(CARD, 2), *asked)
    assert [one.waited_s > 0 for one in tally.answered] == [True, True, False, True, False, True]


def test_by_count_what_does_not_fit_runs_out_of_memory():
    order, tally = served(peers_rules.LruByCount(CARD, 2), (0, "a"), (20, "huge"), (40, "a"))
    assert (order, tally.out_of_memory) == ("aa", 1)
    assert tally.refused == {"load_failed": 1}


def test_by_count_none_that_is_in_use_leaves():
    asked = [(0, "a"), (1, "b")]
    _, tally = served(peers_rules.LruByCount(CARD, 1), *asked, serves_s=50)
    assert tally.answered[1].waited_s == pytest.approx(6.5 + 50 - 1 + STOP_S + 6.5)


def test_by_bytes_a_fifth_of_what_is_free_is_left():
    """10 GB are less than 80 % of 14, and more than 80 % of 4; 1 GB is not more than that."""
    _, tally = served(peers_rules.FifoByBytes(CARD), (0, "a"), (20, "b"), (40, "a"))
    assert (tally.loads, tally.evictions) == (2, 0)
    _, tally = served(peers_rules.FifoByBytes(CARD), (0, "a"), (20, "b"), (40, "small"))
    assert (tally.loads, tally.evictions) == (3, 0)
    _, tally = served(peers_rules.FifoByBytes(CARD), (0, "huge"), (20, "small"), (40, "a"))
    assert tally.evictions == 1


def test_by_bytes_the_first_in_line_blocks_the_others():
    asked = [(0, "huge"), (10, "a"), (12, "small")]
    _, tally = served(peers_rules.FifoByBytes(CARD), *asked, serves_s=60)
    [small] = [one for one in tally.answered if one.demand.model == "small"]
    assert small.waited_s > 50  # though there was room for it when it came


@pytest.mark.parametrize("rule", bench_oversubscription.RULES)
def test_all_are_asked_the_same_and_nobody_is_forgotten(rule):
    row = bench_oversubscription.played(rule, 1)
    assert row.answered > 50
    assert row == bench_oversubscription.played(rule, 1)
    clients = [bench_oversubscription.Clients(7) for _ in range(2)]
    assert clients[0].first() == clients[1].first()


# --- formulas --------------------------------------------------------------------------------


def test_formulas_are_those_of_their_programs():
    """Llama 3.1 8B: 32 layers, 32 heads of 128, 8 of them for keys and values."""
    header = read_header(bench_prediction.FOLDER / "llama31-8b.gguf")
    row = {"n_ctx": 8192}
    beyond = {
        name: told(header, row) - header.tensor_bytes
        for name, told in bench_prediction.FORMULAS.items()
        if told is not bench_prediction.ours
    }
    assert [*beyond.values()] == pytest.approx(
        [
            2 * 32 * 8 * 128 * 8192 * 2,
            header.tensor_bytes * 0.04 + 0.15e9 + 2 * 4096 * 8 * 8192,
            header.tensor_bytes * 0.2,
        ]
    )


def test_ours_is_nearer_than_any_other():
    asked = bench_prediction.rows()
    headers = {
        name: read_header(bench_prediction.FOLDER / f"{name}.gguf")
        for name in {row["model"] for row in asked}
    }
    ours, *others = bench_prediction.errors(headers, asked).values()
    assert ours.p95 < 1
    assert all(other.median > ours.p95 for other in others)
