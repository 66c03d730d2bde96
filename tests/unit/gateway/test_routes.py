"""Routes: opened and closed with residents, counted exactly, taken in a fair order."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.residents import InstanceId, ResidentState
from orchestrator.core.values.specs import ModelName, ModelSpec, room_spec
from orchestrator.gateway.routes import TELL_S, RouteTable
from tests.factories import resident, spec
from tests.simulation.virtual_time import run

A = resident("a", gib=1)
NAME, ONE = ModelName("a"), InstanceId("a-1")
S = ResidentState


class Elsewhere:
    """A plane that says what a test wants it to say."""

    def __init__(self):
        self.published = []
        self.says = {}

    def publish(self, routes):
        self.published.append(list(routes))

    async def counted(self, instances):
        return None if self.says is None else {one: self.says.get(one, 0) for one in instances}

    def last_counted(self, instance):
        return (self.says or {}).get(instance, 0)

    async def close(self):
        pass


class Desk:
    """A table, what the catalogue says, and what the scheduler heard."""

    def __init__(self, *planes, most=None):
        self.table = RouteTable()
        self.specs: dict[ModelName, ModelSpec] = {}
        self.told = []
        self.table.connect(tell=self.told.append, specs=lambda: self.specs, planes=planes)
        self.resident = replace(A, spec=replace(A.spec, concurrency=most))
        self.specs = {NAME: self.resident.spec}
        self.table.follow([self.resident])

    @property
    def route(self):
        return self.table.find(NAME)


def play(scene):
    return run(scene())


# --- opened and closed ---------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(ResidentState))
def test_only_what_is_ready_has_a_way(state):
    async def scene():
        desk = Desk()
        desk.table.follow([replace(A, state=state)])
        return desk.route is not None

    assert play(scene) == (state is S.READY)


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": None},
        {"silent_since_s": 5.0},
        {"instance": InstanceId("a-2"), "state": S.LOADING},
    ],
)
def test_a_way_is_closed_when_it_leads_nowhere(changes):
    async def scene():
        desk = Desk()
        before = desk.route
        desk.table.follow([replace(A, **changes)])
        return before.open, before.closed.is_set(), desk.route

    assert play(scene) == (False, True, None)


def test_a_resident_that_is_gone_has_no_way():
    async def scene():
        desk = Desk()
        desk.table.follow([])
        return desk.route

    assert play(scene) is None


def test_what_the_catalogue_has_changed_since_is_not_used():
    async def scene():
        desk = Desk()
        changed = replace(A.spec, serving=replace(A.spec.serving, context_size=99_999))
        desk.specs = {NAME: changed}
        desk.table.follow([A])
        closed = desk.route is None
        desk.specs = {}
        desk.table.follow([A])
        return closed, desk.route

    assert play(scene) == (True, None)


def test_settings_that_were_ordered_for_this_life_hold():
    async def scene():
        small = replace(A.spec, serving=replace(A.spec.serving, context_size=512))
        ordered = replace(A, instance=InstanceId("a-2"), spec=small)
        desk = Desk()
        desk.table.follow([replace(ordered, state=S.LOADING)])
        desk.table.follow([ordered])
        opened = desk.route is not None
        desk.specs = {NAME: replace(A.spec, serving=replace(A.spec.serving, context_size=99_999))}
        desk.table.follow([ordered])
        return opened, desk.route

    assert play(scene) == (True, None)


def test_a_way_that_is_opened_again_is_another_and_counts_on():
    async def scene():
        desk = Desk()
        first = desk.route
        desk.table.enter(first)
        desk.table.follow([replace(A, state=S.DRAINING)])
        during = desk.table.under_way(ONE)
        desk.table.follow([A])
        again = desk.route
        desk.table.enter(again)
        both = desk.table.under_way(ONE)
        desk.table.leave(first)
        desk.table.leave(again)
        return again.number > first.number, during, both, desk.table.under_way(ONE)

    assert play(scene) == (True, 1, 2, 0)


def test_other_planes_hear_of_every_change_but_not_of_lines_that_are_kept_here():
    async def scene():
        plane = Elsewhere()
        desk = Desk(plane)
        desk.table.follow([desk.resident])
        desk.table.follow([])
        Desk(plane, most=2)
        return [[(one.instance, one.names) for one in routes] for routes in plane.published]

    assert play(scene) == [[(ONE, ("a",))], [], []]


def test_a_name_that_the_catalogue_gives_to_another_model_is_told_at_once():
    async def scene():
        plane = Elsewhere()
        desk = Desk(plane)
        for aliases in (("x", "y"), ("y",)):
            desk.specs = {NAME: replace(A.spec, aliases=aliases)}
            desk.table.follow([desk.resident])
        return [[one.names for one in routes] for routes in plane.published]

    assert play(scene) == [[("a",)], [("a", "x", "y")], [("a", "y")]]


def test_a_line_that_the_operator_gives_a_model_or_takes_away_holds_from_then_on():
    async def scene():
        plane = Elsewhere()
        desk = Desk(plane, most=1)
        route = desk.route
        desk.table.enter(route)
        waiting = asyncio.ensure_future(desk.table.place(route, 5))
        await asyncio.sleep(0)
        desk.specs = {NAME: replace(A.spec, concurrency=2)}
        desk.table.follow([desk.resident])
        assert await waiting
        desk.specs = {NAME: A.spec}
        desk.table.follow([desk.resident])
        desk.specs = {NAME: replace(A.spec, concurrency=2)}
        desk.table.follow([desk.resident])
        return desk.route is route, [len(routes) for routes in plane.published]

    assert play(scene) == (True, [0, 0, 1, 0])


def test_plain_room_has_no_way_and_one_whose_files_are_broken_keeps_what_runs():
    async def scene():
        desk = Desk()
        room = replace(A, spec=room_spec(NAME, 1 << 30, None, 5))
        desk.table.follow([room])
        closed = desk.route is None
        failure = Failure(reason=FailureReason.MODEL_FILE, detail="it ends too early")
        other = replace(A.spec.serving, context_size=99_999)
        desk.specs = {NAME: replace(A.spec, serving=other, failed=failure)}
        desk.table.follow([A])
        return closed, desk.route is not None

    assert play(scene) == (True, True)


# --- taken ---------------------------------------------------------------------------------------


def test_places_are_given_to_the_important_then_to_the_old():
    async def scene():
        desk, order = Desk(most=1), []

        async def take(name, priority):
            assert await desk.table.place(desk.route, priority)
            order.append(name)
            await asyncio.sleep(1)
            desk.table.leave(desk.route)

        names = (("first", 1), ("old", 5), ("young", 5), ("important", 9))
        await asyncio.gather(*(take(*one) for one in names))
        return order, desk.table.under_way(ONE)

    assert play(scene) == (["first", "important", "old", "young"], 0)


def test_a_closed_route_sends_those_who_wait_away():
    async def scene():
        desk = Desk(most=1)
        route = desk.route
        desk.table.enter(route)
        waiting = asyncio.ensure_future(desk.table.place(route, 5))
        await asyncio.sleep(0)
        desk.table.follow([])
        entered = await waiting
        desk.table.leave(route)
        return entered, desk.table.under_way(ONE)

    assert play(scene) == (False, 0)


def test_a_route_that_was_closed_before_its_place_was_asked_for_has_none():
    async def scene():
        desk = Desk()
        route = desk.route
        desk.table.follow([])
        return await desk.table.place(route, 5), desk.table.under_way(ONE)

    assert play(scene) == (False, 0)


def test_who_leaves_the_line_is_not_counted_also_when_it_was_just_let_in():
    async def scene():
        desk = Desk(most=1)
        route = desk.route
        desk.table.enter(route)
        gone, late, last = (asyncio.ensure_future(desk.table.place(route, 5)) for _ in range(3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        desk.table.leave(route)  # lets `late` in, which has not heard of it yet
        late.cancel()
        assert await last
        desk.table.leave(route)
        await asyncio.gather(gone, late, return_exceptions=True)
        return desk.table.under_way(ONE)

    assert play(scene) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["take", "take", "take", "leave", "drain", "ready", "cancel"]),
            st.integers(0, 9),
        ),
        max_size=40,
    ),
    st.sampled_from([1, 2, None]),
)
def test_whatever_happens_in_the_end_nothing_is_counted(acts, most):
    async def scene():
        desk = Desk(most=most)
        inside, tasks = [], []

        async def take(priority):
            route = desk.route
            if route is not None and await desk.table.place(route, priority):
                inside.append(route)

        for act, number in acts:
            match act:
                case "take":
                    tasks.append(asyncio.ensure_future(take(number)))
                case "leave" if inside:
                    desk.table.leave(inside.pop(number % len(inside)))
                case "cancel" if tasks:
                    tasks[number % len(tasks)].cancel()
                case "drain":
                    desk.table.follow([replace(desk.resident, state=S.DRAINING)])
                case "ready":
                    desk.table.follow([desk.resident])
            if number % 2:
                await asyncio.sleep(0)
            assert desk.table.under_way(ONE) >= len(inside)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for route in inside:
            desk.table.leave(route)
        return desk.table.under_way(ONE)

    assert play(scene) == 0


# --- counted -------------------------------------------------------------------------------------


def test_use_is_told_in_a_while_and_not_with_every_request():
    async def scene():
        desk = Desk()
        for _ in range(100):
            desk.table.enter(desk.route)
            desk.table.leave(desk.route)
        at_once = len(desk.told)
        desk.table.enter(desk.route)
        await asyncio.sleep(2 * TELL_S)
        desk.table.leave(desk.route)
        await asyncio.sleep(2 * TELL_S)
        return at_once, [(each.busy, each.used) for each in desk.told]

    assert play(scene) == (0, [(True, True), (False, True)])


def test_the_last_end_is_told_at_once_while_the_model_drains():
    async def scene():
        desk = Desk()
        route = desk.route
        desk.table.enter(route)
        desk.table.follow([replace(A, state=S.DRAINING)])
        desk.table.leave(route)
        await asyncio.sleep(0)
        return [each.busy for each in desk.told]

    assert play(scene) == [False]


@pytest.mark.parametrize(("elsewhere", "total"), [({ONE: 2}, 3), ({}, 1), (None, None)])
def test_all_planes_are_counted(elsewhere, total):
    async def scene():
        plane = Elsewhere()
        desk = Desk(plane)
        desk.table.enter(desk.route)
        plane.says = elsewhere
        return await desk.table.passing([ONE])

    assert play(scene) == {ONE: total}


def test_slots_are_places_where_they_are_ours():
    async def scene():
        ours, theirs = spec("x", gib=1), replace(spec("y", gib=1), settings_ours=False)
        desk = Desk()
        desk.specs = {ours.name: ours, theirs.name: theirs}
        desk.table.follow(
            [
                replace(A, instance=InstanceId("x-1"), spec=ours),
                replace(A, instance=InstanceId("y-1"), spec=theirs),
            ]
        )
        return desk.table.find(ours.name).most, desk.table.find(theirs.name).most

    assert play(scene) == (1, None)
