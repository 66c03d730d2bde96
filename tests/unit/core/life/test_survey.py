"""What a ticket waits for, in words that fit its moment."""

from dataclasses import replace

import pytest

from orchestrator.core.life.queue import Wish
from orchestrator.core.life.state import Reservation
from orchestrator.core.life.survey import LINES_EXPLAINED_MAX, survey
from orchestrator.core.room.eviction import Urgency
from orchestrator.core.values.residents import InstanceId, ResidentState
from orchestrator.core.values.specs import ModelName
from tests.factories import gpu, request, resident, scheduler, spec

S = ResidentState
VICTIM = {InstanceId("old-1"): ModelName("old")}


def waits_for(*parts, reservation=None, now_s=5.0):
    state = scheduler(gpu(gib=24), *parts).state
    state.queue.add(Wish(request(1, spec("new", gib=20)), arrived_s=0, ends_by_s=90))
    if reservation is not None:
        state.reservations[ModelName("new")] = reservation
    (waiting,) = survey(state, now_s).queue
    return waiting.waits_for


def coming(state):
    return resident("new", gib=20, state=state)


def promised(**changes):
    return replace(
        Reservation(victims=dict(VICTIM), drain_until_s=100, urgency=Urgency(priority=5)), **changes
    )


def test_in_the_way_is_named():
    assert "old (it is in use)" in waits_for(resident("old", gib=16, leases=1))


def test_who_is_due_is_told_so():
    old = resident("old", gib=16, leases=1, priority=9)
    assert "It is due" not in waits_for(old, now_s=59)
    assert waits_for(old, now_s=60).endswith("It is due: those in its way drain.")


@pytest.mark.parametrize(
    ("there", "reservation", "words"),
    [
        (coming(S.LOADING), None, "its load"),
        (coming(S.UNLOADING), None, "its earlier instance, which is unloading"),
        (coming(S.RESERVED), promised(), "old to finish what they serve"),
        (coming(S.RESERVED), promised(departing=True, waiting_for={*VICTIM}), "old to leave"),
        (coming(S.RESERVED), promised(departing=True), "the device to give bytes back"),
    ],
)
def test_on_its_way(there, reservation, words):
    assert waits_for(there, reservation=reservation) == words


def test_who_waits_for_files_hears_how_far_they_are():
    state = scheduler(gpu(gib=24), resident("old", gib=20, leases=1)).state
    state.queue.add(Wish(request(1, spec("new", gib=20)), arrived_s=0, ends_by_s=99))
    line = state.queue.line(ModelName("new"))
    line.looked_at = line.spec
    (before,) = survey(state, 5.0).queue
    line.bringing = "30 %"
    (meanwhile,) = survey(state, 6.0).queue
    assert (before.waits_for, meanwhile.waits_for) == ("its files to be looked at", "30 %")


def test_the_end_of_a_long_queue_is_not_explained_one_by_one():
    state = scheduler(gpu(gib=24), resident("old", gib=20, leases=1)).state
    for number in range(LINES_EXPLAINED_MAX + 2):
        wanted = spec(f"m{number:02}", gib=20)
        state.queue.add(Wish(request(number, wanted), arrived_s=number, ends_by_s=99))
    tales = [each.waits_for for each in survey(state, 5.0).queue]
    assert tales[LINES_EXPLAINED_MAX:] == ["those before it in the queue"] * 2
    assert "those before it in the queue" not in tales[:LINES_EXPLAINED_MAX]


def test_restores_of_our_own_are_not_counted_as_callers():
    state = scheduler(gpu(gib=24), resident("old", gib=20, leases=1)).state
    asked = request(-1, spec("new", gib=20))
    state.queue.add(Wish(asked, arrived_s=0, ends_by_s=90, restores=True))
    (waiting,) = survey(state, 5.0).queue
    assert (waiting.callers, waiting.waited_s, waiting.bound_s) == (0, 5.0, 90)
