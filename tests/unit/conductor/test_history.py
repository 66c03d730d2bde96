import asyncio
from dataclasses import replace

import pytest

from orchestrator.conductor.history import (
    CHANGES_MAX,
    DECISIONS_MAX,
    FOREIGN_STEP_BYTES,
    SPANS_MAX,
    UNHEARD_MAX,
    Decided,
    Gap,
    History,
    Holder,
    Noted,
    Spanned,
)
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.leases import Lease, LeaseKind
from orchestrator.core.values.residents import Placement, Resident, ResidentState
from orchestrator.core.values.snapshot import DeviceAccount, Snapshot
from orchestrator.core.values.specs import PLAIN_ROOM, ModelSpec
from orchestrator.core.values.vram import Device, DeviceKind, DeviceState, MiB, Reading
from orchestrator.records import DecisionRecord
from tests.unit.web.samples import NOW_S, spec


def record(number):
    decision = Decide(kind=DecisionKind.LOAD, text=f"decision {number}")
    return DecisionRecord(id=number, at=None, decision=decision)


def resident(name="a", shares=(("fake-0", 6000 * MiB),), of=None):
    return Resident(
        instance=f"{name}-1",
        spec=of or spec(name),
        placement=Placement(tuple(shares)),
        state=ResidentState.READY,
        state_since_s=NOW_S,
        last_used_s=NOW_S,
        priority=5,
    )


def state(*residents, at_s=0.0, foreign_bytes=0, leases=()):
    reading = Reading(
        device=Device(id="fake-0", name="Fake", kind=DeviceKind.GPU),
        read_s=NOW_S,
        state=DeviceState.OK,
    )
    account = DeviceAccount(
        reading=reading,
        foreign_bytes=foreign_bytes,
        headroom_bytes=0,
        available_bytes=0,
        charged_bytes=0,
    )
    return Snapshot(
        now_s=NOW_S + at_s,
        version=1,
        accounts=(account,),
        residents=residents,
        leases=leases,
        queue=(),
        pinned=frozenset(),
        breakers={},
    )


@pytest.fixture
def history():
    return History("life1")


def held(history):
    """Who held what, from when to when, as seconds since the beginning."""
    return [
        (
            each.holder,
            each.name,
            each.held_bytes // MiB,
            each.from_s - NOW_S,
            None if each.until_s is None else each.until_s - NOW_S,
        )
        for each in history.spans()
    ]


def test_span_of_a_resident_lasts_from_its_arrival_to_its_end(history):
    history.note(state(resident()))
    history.note(state(resident(), at_s=5))
    assert held(history) == [(Holder.RESIDENT, "a", 6000, 0, None)]
    history.note(state(at_s=9))
    assert held(history) == [(Holder.RESIDENT, "a", 6000, 0, 9)]


def test_span_ends_where_the_bytes_change(history):
    history.note(state(resident()))
    history.note(state(resident(shares=(("fake-0", 5000 * MiB),)), at_s=3))
    assert held(history) == [
        (Holder.RESIDENT, "a", 6000, 0, 3),
        (Holder.RESIDENT, "a", 5000, 3, None),
    ]


def test_resident_on_two_devices_has_two_spans(history):
    history.note(state(resident(shares=(("fake-0", MiB), ("fake-1", 2 * MiB)))))
    assert [(each.device, each.held_bytes) for each in history.spans()] == [
        ("fake-0", MiB),
        ("fake-1", 2 * MiB),
    ]


def test_span_of_plain_room_names_its_owner(history):
    of = ModelSpec(name="room-1", service=PLAIN_ROOM, footprint=Footprint(device_bytes=MiB))
    room = resident("room-1", of=of)
    lease = Lease(
        id="l1",
        ticket=1,
        instance=room.instance,
        model="room-1",
        kind=LeaseKind.ROOM,
        owner="comfyui",
        priority=5,
        granted_s=NOW_S,
        expires_s=None,
    )
    history.note(state(room, leases=(lease,)))
    assert held(history) == [(Holder.LEASE, "comfyui", 6000, 0, None)]


def test_foreign_bytes_are_a_span_once_they_matter(history):
    history.note(state(foreign_bytes=FOREIGN_STEP_BYTES - 1))
    assert held(history) == []
    history.note(state(foreign_bytes=4096 * MiB, at_s=1))
    history.note(state(foreign_bytes=4096 * MiB + FOREIGN_STEP_BYTES - 1, at_s=2))
    history.note(state(foreign_bytes=8192 * MiB, at_s=3))
    history.note(state(foreign_bytes=None, at_s=4))
    assert held(history) == [
        (Holder.FOREIGN, "", 4096, 1, 3),
        (Holder.FOREIGN, "", 8192, 3, 4),
    ]


def test_foreign_span_ends_when_next_to_nothing_is_left(history):
    history.note(state(foreign_bytes=512 * MiB))
    history.note(state(foreign_bytes=MiB, at_s=1))
    assert held(history) == [(Holder.FOREIGN, "", 512, 0, 1)]


def test_rings_are_bounded(history):
    for number in range(DECISIONS_MAX + 10):
        history.publish(record(number))
        history.note(state(resident(f"m{number}"), at_s=number))
    assert len(history.decisions()) == DECISIONS_MAX
    assert history.decisions()[-1].id == DECISIONS_MAX + 9
    assert len(history.spans()) == SPANS_MAX + 1


def test_what_came_after_a_position_is_known_for_a_while(history):
    assert history.since(0) == ()
    for number in range(1, 4):
        history.publish(record(number))
    assert [change.sequence for change in history.since(1)] == [2, 3]
    assert history.since(3) == ()
    assert history.since(4) is None
    assert history.since(-1) is None
    for number in range(CHANGES_MAX):
        history.publish(record(number))
    assert history.since(2) is None
    assert len(history.since(3)) == CHANGES_MAX


def heard_by_one(history, happens):
    async def listen():
        with history.subscribe() as changes:
            happens()
            history.close()
            return [change async for change in changes]

    return asyncio.run(listen())


def test_subscriber_hears_everything_in_order(history):
    def happens():
        history.publish(record(1))
        history.note(state(resident()))

    decided, spanned, noted = heard_by_one(history, happens)
    assert decided == Decided(1, record(1))
    assert isinstance(spanned, Spanned)
    assert (spanned.sequence, spanned.span.name) == (2, "a")
    assert isinstance(noted, Noted)


def test_notes_in_a_row_arrive_as_the_latest(history):
    def happens():
        for second in range(100):
            history.note(state(at_s=second))

    assert [change.snapshot.now_s - NOW_S for change in heard_by_one(history, happens)] == [99]


def test_subscriber_that_does_not_listen_is_told_of_the_gap(history):
    def happens():
        for number in range(UNHEARD_MAX + 1):
            history.publish(record(number))
        history.publish(record(9999))

    gap, last = heard_by_one(history, happens)
    assert (gap, last.record.id) == (Gap(), 9999)


def test_subscription_to_a_closed_history_ends_at_once(history):
    history.close()
    assert heard_by_one(history, lambda: None) == []


def test_waiting_subscriber_wakes_up(history):
    async def listen():
        with history.subscribe() as changes:
            waiting = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)
            history.publish(record(7))
            return await waiting

    assert asyncio.run(listen()) == Decided(1, record(7))


def test_lease_counts_and_instants_begin_no_span(history):
    history.note(state(resident()))
    history.note(state(replace(resident(), lease_count=5, last_used_s=NOW_S + 9), at_s=9))
    assert history.sequence == 1
