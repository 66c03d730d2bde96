"""What the web asks of the daemon: the whole surface between HTTP and the conductor.

The web holds no state of its own and decides nothing; whatever it answers comes from here.
"""

from collections.abc import Mapping
from typing import Annotated, Protocol

from fastapi import Depends, Request

from orchestrator.catalogue.sizing import Appraisal
from orchestrator.conductor.history import History
from orchestrator.config.sections import ServerSettings
from orchestrator.config.yaml_lines import Plain
from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.orders import (
    EstimateOrder,
    Forecast,
    LoadOrder,
    LoadOutcome,
    ReloadOutcome,
    RoomOrder,
    RoomOutcome,
    UnloadOrder,
    UnloadOutcome,
)
from orchestrator.ports import ChangeableDevices, Clock, DecisionRecord, Operation


class Settings(Protocol):
    """As much of the configuration as the web goes by; it changes with a reload."""

    @property
    def server(self) -> ServerSettings: ...


class Desk(Protocol):
    """Every `Denied` carries the refusal that becomes the answer."""

    @property
    def config(self) -> Settings: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def catalogue(self) -> Mapping[ModelName, ModelSpec]: ...

    @property
    def history(self) -> History: ...

    @property
    def fake_devices(self) -> ChangeableDevices | None: ...

    def snapshot(self) -> Snapshot:
        """From memory, at once."""

    async def begin_load(self, order: LoadOrder) -> Operation:
        """Register the wish. Raise Denied at once where no waiting is needed to know."""

    async def load_outcome(self, operation_id: str, timeout_s: float) -> LoadOutcome:
        """Raise Denied, or TimeoutError at the deadline: the load goes on then.

        With a timeout of 0, what is known already. If the caller is cancelled the load goes on,
        and a lease that nobody has heard of is given back.
        """

    def load_progress(self, operation_id: str) -> tuple[Operation, float | None]:
        """The operation and the seconds it may still take. Raise KeyError if not known."""

    async def unload(self, order: UnloadOrder) -> UnloadOutcome: ...

    async def forecast(self, order: LoadOrder) -> Forecast: ...

    async def estimate(self, order: EstimateOrder) -> Appraisal:
        """Raise ConfigInvalid where the file is at fault."""

    async def lease_room(self, order: RoomOrder) -> RoomOutcome:
        """If the caller is cancelled, nothing stays leased."""

    def renew_lease(self, lease: LeaseId, lease_s: float) -> Lease:
        """Raise KeyError if it is not known, or has ended."""

    def release_lease(self, lease: LeaseId) -> bool:
        """False if it had ended already."""

    def set_pin(self, model: str, pinned: bool) -> ModelSpec: ...

    async def put_model(self, name: str, body: Mapping[str, Plain]) -> ModelSpec:
        """Raise ConfigInvalid with every mistake in it."""

    async def delete_model(self, name: str) -> None: ...

    async def operation(self, operation_id: str) -> Operation | None: ...

    async def decisions(
        self, *, before_id: int | None, after_id: int | None, model: ModelName | None, limit: int
    ) -> tuple[DecisionRecord, ...]: ...

    async def log_tail(self, model: str, lines: int) -> tuple[str, ...]:
        """Empty if it never ran."""

    def degraded(self) -> tuple[str, ...]:
        """Why this daemon should not be sent work now; empty: it should."""

    def doubts(self) -> tuple[str, ...]:
        """What is amiss, although it does part of its work."""

    async def reload(self) -> ReloadOutcome:
        """Raise ConfigInvalid; nothing has changed then."""


async def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


DeskOf = Annotated[Desk, Depends(desk_of)]
