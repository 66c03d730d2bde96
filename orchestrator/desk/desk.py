"""Takes orders, tells the conductor, and hands out what came of them.

Everything a person or a workflow can ask of this daemon is one method here; HTTP, the terminal
and tests differ only in what they do with the answer.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace

from orchestrator.access.keys.record import KeyScope
from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.catalogue.added import Body
from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.ordered import named
from orchestrator.catalogue.sizing import Appraisal, Files
from orchestrator.conductor.conductor import Conductor
from orchestrator.conductor.history import History
from orchestrator.conductor.journal import Promise, of_pin
from orchestrator.config.loading import Config
from orchestrator.core.life.outages import reason
from orchestrator.core.values.messages import (
    CatalogueChanged,
    Grant,
    PinChanged,
    RulesChanged,
    UnloadRequested,
)
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.vram import MiB
from orchestrator.desk import permits
from orchestrator.desk.activity import Activity
from orchestrator.desk.holds import Holds, ModelHold
from orchestrator.desk.leases import Leases
from orchestrator.desk.loads import Operations
from orchestrator.desk.previews import Previews
from orchestrator.desk.requests import RequestHistory
from orchestrator.desk.speeds import SpeedBook
from orchestrator.downloads import Downloads
from orchestrator.errors import Denied, RegistryFailed
from orchestrator.orders import (
    ChangeOutcome,
    EstimateOrder,
    LoadOrder,
    LoadOutcome,
    Preview,
    ReloadOutcome,
    UnloadOrder,
    UnloadOutcome,
)
from orchestrator.ports import ChangeableDevices, Clock
from orchestrator.records import DecisionRecord, Memory, Operation, Page


class Desk:
    """Every `Denied` that is raised here carries the refusal that becomes the answer."""

    def __init__(
        self,
        *,
        conductor: Conductor,
        catalogue: Catalogue,
        problems: Callable[[], tuple[str, ...]],
        fake_devices: ChangeableDevices | None = None,
        downloads: Downloads | None = None,
    ) -> None:
        self._conductor = conductor
        self._catalogue = catalogue
        self._problems = problems
        self._fake_devices = fake_devices
        self.downloads = downloads or Downloads(conductor.clock)
        self._operations = Operations(conductor)
        self.previews = Previews(conductor, catalogue)
        leases = Leases(conductor)
        self.lease_room, self.room_unheard = leases.room, leases.room_unheard
        self.renew_lease, self.release_lease = leases.renew, leases.release
        self._holds = Holds(conductor, catalogue, self.previews)
        self.activity = Activity(conductor.clock)
        self.requests = RequestHistory(self.activity, conductor.registry)
        self.speeds = SpeedBook(conductor, catalogue, self.activity)

    def go_on_from(self, memory: Memory) -> None:
        """Where an earlier daemon ended."""
        self.activity.go_on_after(memory.last_request_id)
        self.speeds.go_on_from(memory.benchmarks)

    # --- what is ---------------------------------------------------------------------------------

    @property
    def config(self) -> Config:
        return self._catalogue.config

    @property
    def clock(self) -> Clock:
        return self._conductor.clock

    @property
    def catalogue(self) -> Mapping[ModelName, ModelSpec]:
        """Every model, with the footprint that is believed in."""
        return self._catalogue.believed

    @property
    def history(self) -> History:
        return self._conductor.history

    @property
    def fake_devices(self) -> ChangeableDevices | None:
        """Devices that do what they are told; only with `devices.source: fake`."""
        return self._fake_devices

    def files(self, spec: ModelSpec) -> Files | None:
        """The headers of a model's files; None where it has none that can be read. Blocking."""
        return self._catalogue.predictions.files(spec)

    def snapshot(self) -> Snapshot:
        """From memory, at once."""
        return self._conductor.snapshot()

    def degraded(self) -> tuple[str, ...]:
        """Why this daemon should not be sent work now; empty: it should."""
        problems = list(self._problems())
        if self._conductor.scheduler.state.shutting_down:
            problems.append("the orchestrator is shutting down")
        accounts = self.snapshot().accounts
        if not accounts:
            problems.append("no device has been read yet")
        elif all(account.available_bytes is None for account in accounts):
            problems += [f"{a.reading.device.id}: {a.reading.problem}" for a in accounts]
        if self._conductor.drivers.keys() <= self.snapshot().silent.keys():
            problems += self._silences()
        return tuple(problems)

    def doubts(self) -> tuple[str, ...]:
        """What is amiss, although it does part of its work."""
        failed = ((s.name, s.failed) for s in self._catalogue.specs.values() if s.failed)
        cannot = (f"{name} cannot be loaded: {failure.detail}" for name, failure in failed)
        return (*self._silences(), *cannot, *self._catalogue.doubts)

    def _silences(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(reason, self.snapshot().silent.values())))

    # --- loads -----------------------------------------------------------------------------------

    async def begin_load(self, order: LoadOrder, rights: Rights = EVERYTHING) -> Operation:
        """Register the wish. Raise Forbidden, or Denied where no waiting is needed to know."""
        self._may_load(order, rights)
        return self._operations.begin(await self.previews.startable(order), order, rights)

    def _may_load(self, order: LoadOrder, rights: Rights) -> None:
        permits.may_load(order, self._catalogue.config.scheduling.rules.lease_s_default, rights)
        self.named(order.model, rights)

    def named(self, model: str, rights: Rights) -> ModelSpec:
        """By name or alias, among the models that there are for the caller. Raise Denied."""
        return named(model, permits.visible(self.catalogue, rights))

    def watch_loads(self, ended: Callable[[Operation, LoadOrder], None]) -> None:
        """Have it hear of every load that has ended, with what was ordered."""
        self._operations.ended = ended

    async def load_outcome(self, operation_id: str, timeout_s: float) -> LoadOutcome:
        """Raise Denied, with what would fit instead, or TimeoutError: the load goes on then.

        Denied is also, at the deadline, that its server hangs. With a timeout of 0, what is known
        already. If the caller is cancelled the load goes on, and neither lease nor pin of which it
        did not hear is kept.
        """
        order = self._operations.order(operation_id)
        try:
            return await self._operations.outcome(operation_id, timeout_s)
        except Denied as denied:
            refusal = await self.previews.with_suggestions(order, denied.refusal)
            raise Denied(refusal) from denied
        except TimeoutError:
            silent = self._operations.silent(operation_id) if timeout_s else None
            if silent is None:
                raise
            raise Denied(silent) from None

    def load_progress(self, operation_id: str) -> tuple[Operation, float | None]:
        """The operation and the seconds it may still take. Raise KeyError if not known."""
        return self._operations.progress(operation_id)

    def load_unheard(self, operation_id: str) -> None:
        """The answer, or where to look for it, did not reach its caller: it keeps nothing."""
        self._operations.unheard(operation_id)

    async def operation(self, operation_id: str, rights: Rights = EVERYTHING) -> Operation | None:
        """From memory, or from the registry; None if neither knows it (any more), or it is
        another's.
        """
        found = await self._operations.find(operation_id)
        return found if found is not None and rights.owns(found.key) else None

    # --- unloads ---------------------------------------------------------------------------------

    async def unload(self, order: UnloadOrder, rights: Rights = EVERYTHING) -> UnloadOutcome:
        """Return when it is gone, or the owner's lease is. Raise Denied if it is in use, and
        Forbidden if it is others'.
        """
        spec = self.here_or_named(order.model, rights)
        state = self._conductor.scheduler.state
        resident = state.ledger.resident(spec.name)
        leases = () if resident is None else tuple(state.leases_on(resident.instance))
        permits.may_unload(order, resident, leases, rights)
        ticket = self._conductor.next_ticket()
        wanted = UnloadRequested(
            ticket=ticket,
            model=spec.name,
            force=order.force,
            owner=order.owner,
            lease=order.lease,
            deadline_s=self.clock() + order.wait_s,
        )
        try:
            finished = await self._conductor.unload(wanted)
        except asyncio.CancelledError:
            self._conductor.withdraw(ticket)
            raise
        return UnloadOutcome(
            spec=spec,
            status=finished.status,
            freed_bytes=finished.freed_bytes,
            verified=finished.verified,
            remaining_leases=finished.remaining_leases,
            note=finished.note,
            durable=finished.durable,
        )

    # --- plans -----------------------------------------------------------------------------------

    async def preview(self, order: LoadOrder, rights: Rights = EVERYTHING) -> Preview:
        """What a load would do, without doing it; a refusal says what would fit instead. Raise
        Forbidden.
        """
        self._may_load(order, rights)
        preview = await self.previews.of(order, rights)
        if preview.refusal is None:
            return preview
        refusal = await self.previews.with_suggestions(order, preview.refusal)
        return replace(preview, refusal=refusal)

    async def estimate(self, order: EstimateOrder) -> Appraisal:
        """What it would take. Raise Denied, or ConfigInvalid where the file is at fault."""
        return await self.previews.estimate(order)

    # --- requests --------------------------------------------------------------------------------

    def held(self, hold: ModelHold) -> AbstractAsyncContextManager[Grant]:
        """A model, ready for the length of the block. Raise Denied, also after `wait_s`."""
        return self._holds.held(hold)

    def stays(self, model: ModelName, ttl_s: float, rights: Rights = EVERYTHING) -> None:
        """From now on a model that is ready leaves by itself after so many idle seconds.

        Nothing happens where others have loaded it: how long it stays is theirs to say.
        """
        resident = self._conductor.scheduler.state.ledger.resident(model)
        if resident is not None and rights.has(KeyScope.LOAD) and rights.owns(resident.key):
            self._holds.stays(model, ttl_s)

    async def fits(self, model: ModelName, rights: Rights = EVERYTHING) -> bool:
        """Whether a load of it could begin now, or would join one, whoever had to leave."""
        try:
            return (await self.previews.of(LoadOrder(model=model), rights)).refusal is None
        except Denied:
            return False

    def waits_for(self, model: ModelName) -> str:
        """What a request for the model waits for, in words."""
        snapshot = self.snapshot()
        waiting = next((line for line in snapshot.queue if line.model == model), None)
        return "its turn" if waiting is None else waiting.waits_for

    async def _kept(self, *promises: Promise) -> bool:
        return await self._conductor.journal.until_kept(*promises)

    # --- the catalogue ---------------------------------------------------------------------------

    async def set_pin(self, model: str, pinned: bool) -> ChangeOutcome:
        """By name or alias. Raise Denied."""
        spec = self._catalogue.named(model)
        self._conductor.order(PinChanged(spec.name, pinned))
        return ChangeOutcome(spec=spec, durable=await self._kept(of_pin(spec.name)))

    async def put_model(self, name: str, body: Body) -> ChangeOutcome:
        """Raise ConfigInvalid with every mistake in it, RegistryFailed if the disk refuses it."""
        spec = await self._catalogue.put(name, body)
        self._conductor.order(CatalogueChanged(self._catalogue.specs))
        self.say_news()
        believed = self._catalogue.believed[spec.name]
        return ChangeOutcome(spec=believed, durable=await self._kept(of_pin(spec.name)))

    async def delete_model(self, name: str) -> bool:
        """Raise Denied while it is resident: unload it first. False: its pin may come back."""
        spec = self._catalogue.named(name)
        there = self._conductor.scheduler.state.ledger.resident(spec.name)
        if there is not None and not spec.found:  # of one that is found, the catalogue says why not
            raise Denied(
                Refusal(
                    code=RefusalCode.CONFLICT,
                    detail=f"{spec.name} is resident.",
                    remedy="Unload it first (POST /models/unload).",
                )
            )
        await self._catalogue.delete(spec.name)
        self._conductor.order(CatalogueChanged(self._catalogue.specs))
        return await self._kept(of_pin(spec.name))

    async def reload(self) -> ReloadOutcome:
        """Raise ConfigInvalid; nothing has changed then."""
        outcome = await self._catalogue.reload()
        names = {*self._conductor.scheduler.state.catalogue, *self._catalogue.specs}
        self.apply_rules()
        self._conductor.order(CatalogueChanged(self._catalogue.specs))
        self.say_news()
        self.speeds.judge_all()
        return replace(outcome, durable=await self._kept(*map(of_pin, names)))

    async def sweep(self) -> None:
        """Take in the models whose files came, let those go whose files went."""
        with suppress(Denied):  # another change does not end: the next sweep
            if await self._catalogue.sweep():
                self._conductor.order(CatalogueChanged(self._catalogue.specs))
            self.say_news()

    def say_news(self) -> None:
        """What the catalogue's files have to say about what was declared, once."""
        for said in self._catalogue.news():
            self._conductor.say(said)

    def apply_rules(self) -> None:
        """What the configuration says about waiting and about room holds from now on."""
        devices = self._catalogue.config.devices
        budget = devices.budget_mb
        self._conductor.order(
            RulesChanged(
                rules=self._catalogue.config.scheduling.rules,
                headroom_bytes=devices.headroom_mb * MiB,
                budget_bytes=(
                    {name: mb * MiB for name, mb in budget.items()}
                    if isinstance(budget, dict)
                    else None
                    if budget is None
                    else budget * MiB
                ),
            )
        )

    # --- the past --------------------------------------------------------------------------------

    async def decisions(
        self, *, before_id: int | None, after_id: int | None, model: ModelName | None, limit: int
    ) -> tuple[DecisionRecord, ...]:
        """From the registry; from memory where the disk does not answer."""
        page = Page(before_id=before_id, after_id=after_id, model=model, limit=limit)
        try:
            return await self._conductor.registry.page(page)
        except RegistryFailed:
            return page.of(self.history.decisions())

    async def log_tail(self, model: str, lines: int) -> tuple[str, ...]:
        """Empty if it never ran."""
        return await self._conductor.lives.log_tail(self.here_or_named(model).name, lines)

    def here_or_named(self, model: str, rights: Rights = EVERYTHING) -> ModelSpec:
        """By name or alias; by name also one that was taken out of the catalogue while it runs: it
        can still be told to go, and asked for its log. Raise Denied.
        """
        resident = self._conductor.scheduler.state.ledger.resident(ModelName(model))
        if resident is not None and not resident.spec.plain_room and rights.sees(resident.name):
            return resident.spec
        return self.named(model, rights)
