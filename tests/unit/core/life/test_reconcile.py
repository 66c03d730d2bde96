"""What was believed, what runs, and the verdict: every case once."""

from dataclasses import replace

import pytest

from orchestrator.core.life.reconcile import Sight, come_back, reconcile
from orchestrator.core.values.residents import (
    Endpoint,
    ForUnload,
    InstanceId,
    ReadyState,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName, room_spec
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import GiB
from tests.factories import resident

S = ResidentState
NOW_S = 50.0
NEW_PLACE = Endpoint("http://127.0.0.1:2")


def sight(name="a", number=1, health=ReadyState.READY):
    return Sight(
        instance=InstanceId(f"{name}-{number}"),
        model=ModelName(name),
        endpoint=NEW_PLACE,
        health=health,
    )


def drawn_up(name="a", number=1):
    return replace(resident(name, gib=8), instance=InstanceId(f"{name}-{number}"), ready_s=None)


def check(believed=(), seen=(), adoptable=()):
    verdict = reconcile(believed, seen, {each.instance: each for each in adoptable}, NOW_S)
    states = {each.instance: each.state for each in verdict.residents}
    return states, list(verdict.remove), list(verdict.forget)


@pytest.mark.parametrize(
    ("believed", "health", "goes_on_as"),
    [
        (S.READY, ReadyState.READY, S.READY),
        (S.DRAINING, ReadyState.READY, S.READY),
        (S.RESERVED, ReadyState.READY, S.READY),
        (S.LOADING, ReadyState.READY, S.READY),
        (S.LOADING, ReadyState.STARTING, S.LOADING),
        (S.READY, ReadyState.STARTING, S.LOADING),
        (S.READY, ReadyState.BROKEN, S.UNLOADING),
        (S.LOADING, ReadyState.BROKEN, S.UNLOADING),
        (S.UNLOADING, ReadyState.READY, S.UNLOADING),
        (S.STUCK, ReadyState.READY, S.UNLOADING),
        (S.RELEASING, ReadyState.STARTING, S.UNLOADING),
    ],
)
def test_what_was_believed_in_and_runs_goes_on(believed, health, goes_on_as):
    known = resident("a", gib=8, state=believed)
    assert check([known], [sight(health=health)]) == ({"a-1": goes_on_as}, [], [])


@pytest.mark.parametrize("state", list(S))
def test_what_was_believed_in_and_is_gone_is_forgotten(state):
    assert check([resident("a", gib=8, state=state)]) == ({}, [], ["a-1"])


def test_what_runs_and_was_never_written_down_is_adopted():
    assert check([], [sight()], [drawn_up()]) == ({"a-1": S.READY}, [], [])


def test_what_runs_and_nobody_can_place_is_removed():
    assert check([], [sight()]) == ({}, ["a-1"], [])


def test_what_is_broken_and_was_never_written_down_is_removed():
    assert check([], [sight(health=ReadyState.BROKEN)], [drawn_up()]) == ({}, ["a-1"], [])


def test_of_two_copies_the_one_that_was_believed_in_stays():
    known = resident("a", gib=8)
    verdict = check([known], [sight(number=2), sight(number=1)], [drawn_up(number=2)])
    assert verdict == ({"a-1": S.READY}, ["a-2"], [])


def test_of_two_that_were_believed_in_the_second_goes_with_its_row():
    first, second = resident("a", gib=8), replace(resident("a", gib=8), instance=InstanceId("a-2"))
    seen = [sight(number=1), sight(number=2)]
    assert check([first, second], seen) == ({"a-1": S.READY}, ["a-2"], ["a-2"])


def test_of_two_strangers_the_first_seen_stays():
    seen = [sight(number=1), sight(number=2)]
    adoptable = [drawn_up(number=1), drawn_up(number=2)]
    assert check([], seen, adoptable) == ({"a-1": S.READY}, ["a-2"], [])


def test_a_leased_room_needs_nothing_that_runs():
    room = replace(
        resident("lease-1", gib=8), spec=room_spec(ModelName("lease-1"), 8 * GiB, None, 5)
    )
    assert check([room]) == ({"lease-1-1": S.READY}, [], [])
    promised = replace(room, state=S.RESERVED)
    assert check([promised]) == ({}, [], ["lease-1-1"]), "promised to a caller who is gone"


def test_a_new_life_of_the_daemon_starts_its_counts_afresh():
    known = replace(resident("a", gib=8, leases=3), busy=True, ready_s=7.0, why_leaving="x")
    (goes_on,) = reconcile([known], [sight()], {}, NOW_S).residents
    assert (goes_on.lease_count, goes_on.busy, goes_on.why_leaving) == (0, False, "")
    assert (goes_on.endpoint, goes_on.ready_s, goes_on.state_since_s) == (NEW_PLACE, 7.0, NOW_S)


def test_nobody_is_held_to_be_idle_for_the_time_in_which_nobody_looked():
    (goes_on,) = reconcile([resident("a", gib=8, used_s=1)], [sight()], {}, NOW_S).residents
    assert goes_on.last_used_s == NOW_S


def test_what_became_ready_while_nobody_looked_is_ready_from_now():
    known = replace(resident("a", gib=8, state=S.LOADING), ready_s=None)
    (goes_on,) = reconcile([known], [sight()], {}, NOW_S).residents
    assert goes_on.ready_s == NOW_S


# --- a life that had ended and goes on -----------------------------------------------------------


@pytest.mark.parametrize(
    ("health", "wanted_gone", "goes_on_as"),
    [
        (ReadyState.STARTING, False, S.LOADING),
        (ReadyState.READY, False, S.READY),
        (ReadyState.BROKEN, False, S.UNLOADING),
        (ReadyState.STARTING, True, S.UNLOADING),
    ],
)
def test_who_comes_back_goes_on_as_it_is_found(health, wanted_gone, goes_on_as):
    life = replace(resident("a", gib=8, state=S.LOADING), ready_s=3.0)
    wanted = (ForUnload(Ticket(1), 9.0),) if wanted_gone else ()
    releasing = replace(life, state=S.RELEASING, leaving=wanted)
    for present in (releasing,) if wanted_gone else (None, releasing):
        seen = sight(health=health)
        back = come_back(life, seen, present, NOW_S)
        assert (back.state, back.endpoint) == (goes_on_as, NEW_PLACE)
        assert back.ready_s in (None, NOW_S), "it is ready anew, or not yet"


def test_nobody_comes_back_whose_place_is_taken():
    life = resident("a", gib=8)
    another = replace(life, instance=InstanceId("a-2"))
    for present in (life, another, replace(another, state=S.RELEASING)):
        assert come_back(life, sight(), present, NOW_S) is None
