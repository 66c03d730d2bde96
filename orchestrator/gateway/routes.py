"""Ways to models that are ready: open while a resident may be granted, and counted.

A warm request takes a route without asking: it counts itself in, and out when it has ended. The
scheduler hears when a model comes into use by that and falls idle again, some dozens of times a
second at most; a victim's route is closed before its server is asked, and the count is read then.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.core.values.messages import UseSeen
from orchestrator.core.values.residents import InstanceId, Resident, ResidentState
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs
from orchestrator.gateway.fitness import abilities
from orchestrator.gateway.planes import Plane, Published

TELL_S = 0.05  # how stale the scheduler's view of use may be: a look before a stop is exact
ON_ITS_WAY = frozenset({ResidentState.RESERVED, ResidentState.LOADING})

Waiting = tuple[int, int, "asyncio.Future[bool]"]  # the most important first, then the oldest


@dataclass(slots=True, eq=False)
class Route:
    """The way to one ready server. Closed and opened again it is another."""

    instance: InstanceId
    model: ModelName
    spec: ModelSpec
    url: str
    priority: int
    number: int
    names: tuple[str, ...] = ()  # what requests may call it
    line: int | None = None  # so many requests at once, as the operator says
    slots: int | None = None  # so many, as its server has it
    open: bool = True
    passing: int = 0
    waiting: list[Waiting] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def most(self) -> int | None:
        """Requests at once; None: any number."""
        return self.line or self.slots

    @property
    def full(self) -> bool:
        return self.most is not None and self.passing >= self.most


class RouteTable:
    """The routes of this process, published to every other plane as well."""

    def __init__(self) -> None:
        self._by_model: dict[ModelName, Route] = {}
        self._by_instance: dict[InstanceId, Route] = {}  # open ones, and others that carry still
        self._ordered: dict[InstanceId, ModelSpec | None] = {}  # what the catalogue said then
        self._numbers = itertools.count(1)
        self._turns = itertools.count()
        self._changed: set[InstanceId] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._tell: Callable[[UseSeen], None] = lambda _: None
        self._specs: Callable[[], ModelSpecs] = dict
        self._planes: tuple[Plane, ...] = ()

    def connect(
        self,
        *,
        tell: Callable[[UseSeen], None],
        specs: Callable[[], ModelSpecs],
        planes: tuple[Plane, ...] = (),
    ) -> None:
        """To whom use is told, and what the catalogue says of models now."""
        self._tell = tell
        self._specs = specs
        self._planes = planes

    # --- opened and closed -----------------------------------------------------------------------

    def follow(self, residents: Iterable[Resident]) -> None:
        specs = self._specs()
        here = set()
        changed = False
        for resident in residents:
            here.add(resident.instance)
            if resident.state in ON_ITS_WAY:
                self._ordered.setdefault(resident.instance, specs.get(resident.name))
            route = self._by_model.get(resident.name)
            if route is not None and route.instance != resident.instance:
                changed |= self._close(route)
                route = None
            spec = specs.get(resident.name)
            if spec is None or not self._may_open(resident, spec):
                changed |= route is not None and self._close(route)
            else:
                if route is None:
                    changed = True
                    route = self._opened(resident)
                changed |= self._take_over(route, resident, spec)
        for route in [gone for gone in self._by_model.values() if gone.instance not in here]:
            changed |= self._close(route)
        for instance in self._ordered.keys() - here:
            del self._ordered[instance]
        if changed:
            self._publish()

    def _take_over(self, route: Route, resident: Resident, spec: ModelSpec) -> bool:
        """What may change while it is open. Whether it has."""
        before = route.priority, route.names, route.line
        route.priority = resident.priority
        route.names = (route.model, *spec.aliases)
        route.line = spec.concurrency
        self._let_in(route)
        return before != (route.priority, route.names, route.line)

    def _may_open(self, resident: Resident, spec: ModelSpec) -> bool:
        """Whether any request that names the model may be sent there, whatever settings it has.

        Settings that were ordered for this life hold; what the catalogue has changed since does
        not: that one is started anew when it is next asked for.
        """
        if (
            resident.state is not ResidentState.READY
            or resident.endpoint is None
            or resident.silent_since_s is not None
            or resident.spec.plain_room
        ):
            return False
        if spec.failed is not None or resident.serves(spec):
            return True
        ordered = self._ordered.get(resident.instance)
        return ordered is not None and spec.launches_like(ordered)

    def _opened(self, resident: Resident) -> Route:
        assert resident.endpoint is not None
        spec = resident.spec
        route = Route(
            instance=resident.instance,
            model=resident.name,
            spec=spec,
            url=resident.endpoint.url.rstrip("/"),
            priority=resident.priority,
            number=next(self._numbers),
            slots=spec.serving.slots if spec.settings_ours else None,
        )
        carried = self._by_instance.get(resident.instance)
        if carried is not None:  # what it carries goes on, counted with what comes
            route.passing = carried.passing
            route.waiting, carried.waiting = carried.waiting, []
        self._by_model[resident.name] = self._by_instance[resident.instance] = route
        return route

    def _close(self, route: Route) -> bool:
        """What waits for a place there must ask; what it carries goes on."""
        self._forget(route)
        for _, _, turn in route.waiting:
            if not turn.done():
                turn.set_result(False)
        route.waiting.clear()
        return True

    def _forget(self, route: Route) -> None:
        route.open = False
        route.closed.set()
        del self._by_model[route.model]
        if not route.passing:
            self._by_instance.pop(route.instance, None)

    def _publish(self) -> None:
        if not self._planes:
            return
        routes = [
            Published(
                instance=route.instance,
                number=route.number,
                names=route.names,
                url=route.url,
                priority=route.priority,
                can=abilities(route.spec),
            )
            for route in self._by_model.values()
            if route.line is None  # else its line is kept here
        ]
        for plane in self._planes:
            plane.publish(routes)

    # --- taken -----------------------------------------------------------------------------------

    def find(self, model: ModelName) -> Route | None:
        """The open route to a model."""
        return self._by_model.get(model)

    def of(self, instance: InstanceId) -> Route | None:
        """The route to one life of a model, also if it is closed and carries still."""
        return self._by_instance.get(instance)

    def enter(self, route: Route) -> None:
        """Count a request in. Its end is told by `leave`."""
        assert route.open, f"{route.instance} is closed"
        route.passing += 1
        if route.passing == 1:
            self._note(route.instance)

    def leave(self, route: Route) -> None:
        at = self._by_instance.get(route.instance, route)
        at.passing -= 1
        if at.waiting and not at.full:
            self._let_in(at)
        if not at.passing:
            if not at.open:
                self._by_instance.pop(at.instance, None)
            self._note(at.instance, at_once=not at.open)

    async def place(self, route: Route, priority: int) -> bool:
        """Count a request in when there is a place for it. False: the route was closed meanwhile.

        If the caller is cancelled it is not counted.
        """
        if not route.open:
            return False
        if not route.full and not route.waiting:
            self.enter(route)
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        heapq.heappush(route.waiting, (-priority, next(self._turns), turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave(route)  # it was let in, and had not heard of it
            raise

    def _let_in(self, route: Route) -> None:
        while route.waiting and not route.full:
            _, _, turn = heapq.heappop(route.waiting)
            if not turn.done():
                route.passing += 1
                turn.set_result(True)

    # --- counted ---------------------------------------------------------------------------------

    def under_way(self, instance: InstanceId) -> int:
        route = self._by_instance.get(instance)
        here = 0 if route is None else route.passing
        return here + sum(plane.last_counted(instance) for plane in self._planes)

    async def passing(self, instances: Collection[InstanceId]) -> Mapping[InstanceId, int | None]:
        counts: dict[InstanceId, int | None] = {}
        elsewhere = await asyncio.gather(*(plane.counted(instances) for plane in self._planes))
        for instance in instances:
            route = self._by_instance.get(instance)
            total: int | None = 0 if route is None else route.passing
            for there in elsewhere:
                count = None if there is None else there.get(instance, 0)
                total = None if total is None or count is None else total + count
            counts[instance] = total
        return counts

    def used(self, instances: Iterable[InstanceId]) -> None:
        """They were used, or are, by requests that another plane carries."""
        for instance in instances:
            self._note(instance)

    def _note(self, instance: InstanceId, *, at_once: bool = False) -> None:
        self._changed.add(instance)
        if at_once:
            asyncio.get_running_loop().call_soon(self._tell_use)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TELL_S, self._tell_use)

    def _tell_use(self) -> None:
        """A use that began and ended since is told as one that was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changed, self._changed = self._changed, set()
        for instance in changed:
            self._tell(UseSeen(instance=instance, busy=self.under_way(instance) > 0, used=True))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
