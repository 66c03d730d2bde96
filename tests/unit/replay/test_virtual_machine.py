from dataclasses import replace

import pytest

from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.replay.policies import RealScheduler
from orchestrator.replay.virtual_machine import GAVE_UP, STOP_S, VirtualMachine
from tests.unit.replay.histories import CARD, demand, spec


def live(demands, specs, devices=(CARD,), **more):
    models = {one.name: one for one in specs}
    return VirtualMachine(devices, RealScheduler(models), models, **more).live(demands)


def test_the_first_request_waits_for_the_load_and_the_second_for_nothing():
    tally = live([demand(0, "a"), demand(60, "a")], [spec("a")])
    assert tally.waits_s == [0.0, 10.0]
    assert (tally.loads, tally.evictions, tally.reload_s) == (1, 0, 10.0)
    assert tally.lasted_s == 61.0
    assert tally.loaded_s == 51.0


def test_a_model_leaves_for_another_where_there_is_no_room_for_both():
    tally = live([demand(0, "a"), demand(60, "b")], [spec("a"), spec("b")])
    assert tally.evictions == 1
    assert max(tally.waits_s) == pytest.approx(10.0 + STOP_S)


def test_a_second_device_takes_the_other_model():
    second = replace(CARD, id=DeviceId("g1"))
    asked = [demand(0, "a"), demand(60, "b"), demand(120, "a"), demand(180, "b")]
    tally = live(asked, [spec("a"), spec("b")], (CARD, second))
    assert (tally.loads, tally.evictions) == (2, 0)


def test_what_others_hold_is_no_room():
    crowded = replace(CARD, foreign_bytes=12 * GiB)
    tally = live([demand(0, "a")], [spec("a")], (crowded,), patience_s=20)
    assert not tally.answered
    assert sum(tally.refused.values()) == 1
    assert tally.out_of_memory == 0


def test_what_never_fits_is_refused():
    tally = live([demand(0, "a")], [spec("a", 30)])
    assert tally.refused == {"does_not_fit": 1}


def test_a_request_is_not_cut_for_another_model():
    """Also where that one waits until the first has served for a minute."""
    tally = live([demand(0, "a", serves_s=60), demand(20, "b")], [spec("a"), spec("b")])
    assert [one.demand.model for one in tally.answered] == ["a", "b"]
    assert tally.answered[0].ended_s == 70.0
    assert tally.answered[1].waited_s > 50.0


def test_who_waits_longer_than_a_client_does_has_no_answer():
    asked = [demand(0, "a", serves_s=500), demand(20, "b")]
    tally = live(asked, [spec("a"), spec("b")], patience_s=30)
    assert [one.demand.model for one in tally.answered] == ["a"]
    assert sum(tally.refused.values()) == 1


def test_who_is_not_refused_in_time_leaves():
    tally = live([demand(0, "a")], [spec("a", load_s=100)], patience_s=30)
    assert tally.refused == {GAVE_UP: 1}


def test_a_client_may_have_a_patience_of_its_own():
    asked = [demand(0, "a"), demand(0, "a", patience_s=4.0)]
    tally = live(asked, [spec("a")])
    assert tally.refused == {GAVE_UP: 1}
    assert tally.waits_s == [4.0, 10.0]


def test_a_server_serves_so_many_at_a_time():
    asked = [demand(0, "a", serves_s=5) for _ in range(3)]
    tally = live(asked, [spec("a")], slots=2)
    assert tally.waits_s == [10.0, 10.0, 15.0]


def test_a_model_that_takes_more_than_was_planned_runs_out_of_memory():
    tally = live([demand(0, "a")], [spec("a")], takes={ModelName("a"): 25 * GiB}, patience_s=100)
    assert tally.out_of_memory >= 1
    assert not tally.answered


def test_a_client_asks_again_when_it_has_its_answer():
    left = [demand(0, "a"), demand(0, "a")]

    def then(done, now_s):
        return replace(left.pop(), at_s=now_s + 5, client=done.client) if left else None

    tally = live([demand(0, "a", client=3)], [spec("a")], then=then)
    assert [one.demand.at_s for one in tally.answered] == [0, 16.0, 22.0]
    assert {one.demand.client for one in tally.answered} == {3}


def test_a_model_leaves_after_its_idle_time_and_quiet_hours_cost_nothing():
    asked = [demand(0, "a"), demand(400_000, "b"), demand(400_100, "a")]
    assert live(asked, [spec("a"), spec("b", 5)]).loads == 2
    asked = [demand(0, "a"), demand(4_000, "b"), demand(4_100, "a")]
    assert live(asked, [spec("a", ttl_s=60.0), spec("b", 5)]).loads == 3


def test_the_idle_time_counts_also_while_nothing_happens():
    """The one that has not been used for an hour leaves, not the one of a minute ago."""
    asked = [demand(0, "a"), demand(3600, "b"), demand(3660, "c"), demand(3700, "b")]
    tally = live(asked, [spec("a", 10), spec("b", 10), spec("c", 10)])
    assert tally.loads == 3
    assert tally.evictions == 1


def test_a_model_that_is_kept_loaded_comes_back_while_nobody_asks():
    specs = [spec("kept", keep_loaded=True), spec("b", ttl_s=30.0)]
    tally = live([demand(0, "kept"), demand(60, "b"), demand(200, "kept")], specs)
    assert [one.waited_s > 0 for one in tally.answered] == [True, True, False]
    assert tally.loads == 3


def test_what_becomes_possible_with_the_first_tick_after_quiet_is_done():
    """`b` keeps its place for ten seconds, which end before that tick."""
    asked = [demand(0, "a"), demand(60, "b"), demand(79.5, "a")]
    tally = live(asked, [spec("a"), spec("b")])
    assert tally.answered[-1].waited_s == pytest.approx(1.0 + STOP_S + 10.0)


def test_nothing_asked_is_nothing_done():
    tally = live([], [spec("a")])
    assert (tally.asked, tally.loads, tally.lasted_s) == (0, 0, 0.0)


def test_the_same_history_is_the_same_outcome():
    asked = [demand(number * 7, "abc"[number % 3]) for number in range(30)]
    specs = [spec("a"), spec("b"), spec("c", 8)]
    assert live(asked, specs) == live(asked, specs)
