"""When what is in the way will have ended: told, and never too late."""

from dataclasses import replace

import pytest

from orchestrator.core.room.instants import Ends, ends, possible_at, when
from orchestrator.core.values.residents import ResidentState
from tests.factories import ask, gpu, ledger, resident, spec

NEW = spec("new", gib=20)
NOW_S = 1000.0
IN_USE = {"leases": 1}


def of(there, *, leases_end_s=None, **asked):
    asked = replace(ask(NEW, now_s=NOW_S, **asked), leases_end=lambda _: leases_end_s)
    told = ends(asked, there)
    return told.earliest_s - NOW_S, None if told.known_s is None else told.known_s - NOW_S


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        (resident("a", gib=20), {}, (0, 0)),
        (resident("a", gib=20), {"pinned": ["a"]}, (float("inf"), None)),
        (resident("a", gib=20, priority=9, used_s=900), {}, (80, 80)),
        (replace(resident("a", gib=20, priority=9, used_s=900), ttl_s=150), {}, (50, 50)),
        (resident("a", gib=20, priority=9, **IN_USE), {}, (180, None)),
        (resident("a", gib=20, priority=9, **IN_USE), {"leases_end_s": 1060}, (180, 240)),
        (resident("a", gib=20, settled_until_s=1008), {}, (8, 8)),
        (resident("a", gib=20, settled_until_s=1008, **IN_USE), {}, (8, None)),
        (resident("a", gib=20, settled_until_s=1008, **IN_USE), {"leases_end_s": 1003}, (8, 8)),
        (resident("a", gib=20, **IN_USE), {}, (0, None)),
        (resident("a", gib=20, **IN_USE), {"leases_end_s": 1060}, (0, 60)),
        (replace(resident("a", gib=20, **IN_USE), busy=True), {"leases_end_s": 1060}, (0, None)),
        (resident("a", gib=20, state=ResidentState.LOADING), {}, (0, None)),
    ],
)
def test_each_stance_knows_when_it_ends(there, asked, expected):
    assert of(there, **asked) == expected


def test_one_that_drained_in_vain_is_asked_again_at_an_instant():
    there = replace(resident("a", gib=20, **IN_USE), resisted=(("new", 1100.0),))
    asked = ask(NEW, now_s=NOW_S, due=True)
    asked = replace(asked, urgency=replace(asked.urgency, wisher=NEW.name))
    assert ends(asked, there) == Ends(NOW_S, 1100.0)


def test_room_is_possible_when_enough_have_ended():
    account = ledger(
        gpu(gib=24),
        resident("soon", gib=8, priority=9, used_s=850),
        resident("later", gib=8, priority=9, used_s=900),
        resident("last", gib=8, priority=9, used_s=950),
    )
    asked = ask(spec("new", gib=16), now_s=NOW_S)
    assert possible_at(asked, account) == Ends(1080, 1080), "soon and later are enough"


def test_the_soonest_device_counts():
    account = ledger(
        gpu("g0", gib=24),
        gpu("g1", gib=24),
        resident("a", gib=24, priority=9, used_s=990, on="g0"),
        resident("b", gib=24, priority=9, used_s=900, on="g1"),
    )
    assert possible_at(ask(NEW, now_s=NOW_S), account) == Ends(1080, 1080)


def test_foreign_bytes_may_go_at_any_time_and_are_not_counted_upon():
    account = ledger(gpu(gib=24, used_gib=12), resident("vip", gib=12, priority=9, used_s=990))
    assert possible_at(ask(spec("new", gib=8), now_s=NOW_S), account) == Ends(NOW_S, 1170)
    assert possible_at(ask(spec("new", gib=16), now_s=NOW_S), account) == Ends(1170, None)


def test_of_many_devices_nothing_is_ruled_out():
    cards = [gpu(f"g{n}", gib=24) for n in range(20)]
    vips = [resident(f"v{n}", gib=24, priority=9, used_s=990, on=f"g{n}") for n in range(20)]
    assert possible_at(ask(NEW, now_s=NOW_S), ledger(*cards, *vips)) == Ends(NOW_S, 1170)


def test_an_instant_in_words():
    assert when(63_395.0, 63_318.4, 0.0) == "in 77 s, at 17:36:35 UTC"
    assert when(63_395.0, 63_318.4, -3600.0) == "in 77 s, at 16:36:35 UTC"
