"""What an order would come to, without carrying it out: plans, suggestions, estimates."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.catalogue.catalogue import Catalogue, cannot_be_loaded
from orchestrator.catalogue.found.unused import UnusedFile, unused_files
from orchestrator.catalogue.ordered import on_hub, to_estimate
from orchestrator.catalogue.sizing import Appraisal
from orchestrator.conductor.conductor import Conductor
from orchestrator.conductor.execution import foresee, look_at
from orchestrator.config.yaml_lines import show
from orchestrator.core.life.charges import quota_of, too_much_to_lease
from orchestrator.core.life.outages import refusal as unavailable
from orchestrator.core.life.outages import refusal_by_server
from orchestrator.core.life.setbacks import breaker_open, objection
from orchestrator.core.room.eviction import Urgency
from orchestrator.core.room.explanation import for_free_room_only
from orchestrator.core.room.placement import usable_devices
from orchestrator.core.room.planner import Fits, Plan, fits, plan, possible
from orchestrator.core.room.question import Question
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import CatalogueChanged
from orchestrator.core.values.refusals import FittingFile, Refusal, RefusalCode
from orchestrator.core.values.residents import Resident, ResidentState
from orchestrator.core.values.specs import ModelSpec
from orchestrator.core.values.vram import DeviceKind
from orchestrator.desk import permits
from orchestrator.errors import ConfigInvalid, Denied, Unpredictable
from orchestrator.orders import EstimateOrder, LoadOrder, Preview
from orchestrator.wall import WALL

HUB_FILES_MAX = 2  # that no model is made of yet and a hub is asked about at once


class Previews:
    def __init__(self, conductor: Conductor, catalogue: Catalogue) -> None:
        self._conductor = conductor
        self._looking = asyncio.Lock()
        self._asking = asyncio.Semaphore(HUB_FILES_MAX)
        self._catalogue = catalogue

    async def startable(self, order: LoadOrder) -> ModelSpec:
        """Raise Denied also for a model that stands as failed, once its files were looked at again,
        and for a service that came with a reload: it has no drivers yet.
        """
        await self._look_again(order.model)
        spec = await self._catalogue.resolve(order)
        if spec.failed is not None:
            return self._as_it_runs(spec, spec.failed)
        self._require_drivers(spec)
        return spec

    def _require_drivers(self, spec: ModelSpec) -> None:
        if spec.service not in self._conductor.drivers:
            raise Denied(
                Refusal(
                    code=RefusalCode.CONFLICT,
                    detail=f"{spec.name} belongs to the service {spec.service}, which the "
                    "configuration did not have when the orchestrator was started.",
                    remedy="Restart the orchestrator; models that run go on meanwhile.",
                )
            )

    async def _look_again(self, model: str) -> None:
        if await self._catalogue.look_again(model):
            self._conductor.tell(CatalogueChanged(self._catalogue.specs))
            for said in self._catalogue.news():
                self._conductor.say(said)

    def _as_it_runs(self, spec: ModelSpec, failure: Failure) -> ModelSpec:
        """Its server may need what is missing no more. Raise Denied if there is none."""
        resident = self._conductor.scheduler.state.ledger.resident(spec.name)
        if resident is not None and resident.state is ResidentState.READY:
            return resident.spec
        raise Denied(
            Refusal(
                code=RefusalCode.LOAD_FAILED,
                detail=f"{cannot_be_loaded(spec)}: {failure.detail}",
                remedy=failure.remedy,
                failure=failure,
            )
        )

    async def of(self, order: LoadOrder, rights: Rights = EVERYTHING) -> Preview:
        """What a load would do and say, without doing it: the scheduler's own plan, and a look at
        what a start needs.
        """
        try:
            spec, unclear = await self.startable(order), None
        except Denied as denied:
            failed = self._catalogue.named(order.model)
            if failed.failed is None:
                raise
            return self._refused(failed, denied.refusal)
        if spec.footprint.unknown:
            unclear = await self._find_size(spec)
            spec = spec if unclear else await self.startable(order)
        resident = self._conductor.scheduler.state.ledger.resident(spec.name)
        if resident is not None and _is_served_by(resident, spec):
            if (beyond := self._too_much_to_lease(order, resident, rights)) is not None:
                return self._refused(spec, beyond)
            return Preview(
                spec=replace(spec, given_up=resident.spec.given_up),
                plan=Plan(spec, resident.placement),
                refusal=None,
                available_bytes=self._available_bytes(),
                eta_s=0.0,
                already_loaded=True,
            )
        refusal = unclear or self._at_once(spec) or await self._objection(order, spec, rights)
        if refusal is not None:
            return self._refused(spec, refusal)
        asked, found = self._planned(order, spec, rights)
        if isinstance(found, Refusal):
            return self._refused(asked, found)
        return Preview(
            spec=asked,
            plan=found,
            refusal=None,
            available_bytes=self._available_bytes(),
            eta_s=spec.load_s,
            already_loaded=False,
        )

    def _refused(self, spec: ModelSpec, refusal: Refusal) -> Preview:
        return Preview(
            spec=spec,
            plan=None,
            refusal=refusal,
            available_bytes=self._available_bytes(),
            eta_s=None,
            already_loaded=False,
        )

    def _available_bytes(self) -> int:
        accounts = self._conductor.snapshot().accounts
        return sum(account.available_bytes or 0 for account in accounts)

    def _too_much_to_lease(
        self, order: LoadOrder, resident: Resident, rights: Rights
    ) -> Refusal | None:
        if order.owner is None and order.lease_s is None:
            return None
        state = self._conductor.scheduler.state
        return too_much_to_lease(
            state, LeaseKind.OWNER, rights.id, permits.bounds(rights), resident
        )

    def _planned(
        self, order: LoadOrder, spec: ModelSpec, rights: Rights
    ) -> tuple[ModelSpec, Plan | Refusal]:
        """With the settings that it would run with."""
        state = self._conductor.scheduler.state
        urgency = Urgency(priority=permits.priority(order.priority, spec.priority, rights))
        asked = possible(
            Question(
                spec=spec,
                urgency=urgency,
                rules=state.rules,
                now_s=self._conductor.clock(),
                ahead_s=WALL.ahead_s,
                pinned=frozenset(state.pinned),
                silent=frozenset(state.silent),
                policy=state.policy,
                leases_end=state.leases_end(),
                evicts=order.evict is None,
                networks=state.networks,
                quota=quota_of(state, rights.id, permits.bounds(rights), beside=spec.name),
            ),
            state.ledger,
        )
        found = plan(asked, state.ledger)
        if isinstance(found, Refusal) and not asked.evicts:
            found = for_free_room_only(found)
        return asked.spec, found

    def _at_once(self, spec: ModelSpec) -> Refusal | None:
        """What a load would be refused with before anything is looked at."""
        state, now_s = self._conductor.scheduler.state, self._conductor.clock()
        resident = state.ledger.resident(spec.name)
        if resident is not None and resident.silent_since_s is not None and resident.serves(spec):
            return refusal_by_server(resident, now_s)
        silence = state.silent.get(spec.service)
        if silence is not None:
            return unavailable(spec.name, silence)
        breaker = state.breakers.get(spec.name)
        if breaker is None or breaker.cause_outside or not breaker.refuses(now_s):
            return None
        return breaker_open(spec.name, breaker, now_s)

    async def _objection(self, order: LoadOrder, spec: ModelSpec, rights: Rights) -> Refusal | None:
        """What a load would hear of its files, its container or its program, if it came so far."""
        state, now_s = self._conductor.scheduler.state, self._conductor.clock()
        asked, found = self._planned(order, spec, rights)
        breaker = state.breakers.get(spec.name)
        looks_first = breaker is not None and breaker.refuses(now_s)
        if isinstance(found, Refusal) and not looks_first:
            return None  # it would hear of the room
        failure = await foresee(asked, self._conductor.drivers[asked.service])
        if failure is None:
            return None
        return objection(state, spec.name, failure, self._conductor.clock())[0]

    async def with_suggestions(self, order: LoadOrder, refusal: Refusal) -> Refusal:
        """With changed settings that would fit, worked out in a thread. Raise Denied."""
        if refusal.room_bytes is None:
            return refusal
        spec = await self._catalogue.resolve(order)
        ledger = self._conductor.scheduler.state.ledger
        kinds = {ledger.reading(device).device.kind for device in usable_devices(spec, ledger)}
        found = await asyncio.to_thread(
            self._catalogue.predictions.suggestions,
            spec,
            refusal.room_bytes,
            on_host=kinds == {DeviceKind.HOST},
            host_room_bytes=refusal.host_room_bytes,
        )
        ways = " or ".join(f"{key} {value}" for way in found for key, value in way.items())
        remedy = f"{refusal.remedy} It would fit with {ways}." if ways else refusal.remedy
        file = await self._fitting_file(spec)
        if file is not None:
            remedy += f" {file.quantization} of it would fit: file: {file.file}."
        return replace(refusal, suggestions=found, remedy=remedy, fitting_file=file)

    async def _fitting_file(self, spec: ModelSpec) -> FittingFile | None:
        """The best known quantization that fits on empty devices. None: its own, or none does."""
        for way in await asyncio.to_thread(self._catalogue.predictions.ways, spec):
            if self.fits(way.spec) in (Fits.NOW, Fits.AFTER_EVICTIONS):
                return None if way.own else way.file
        return None

    async def estimate(self, order: EstimateOrder) -> Appraisal:
        """What it would take. Raise Denied, or ConfigInvalid where the file is at fault."""
        if order.model is not None:
            await self._look_again(order.model)
            if (failed := self._catalogue.named(order.model)).failed is not None:
                self._as_it_runs(failed, failed.failed)
        if order.model is not None and (named := self._catalogue.named(order.model)).awaits_file:
            unsized = replace(named, footprint=UNKNOWN, auto_download=True)
            if (unclear := await self._find_size(unsized)) is not None:
                raise Denied(unclear)
        spec = await self._to_estimate(order)
        try:
            found = await asyncio.to_thread(self._catalogue.predictions.appraise, spec)
        except Unpredictable as error:
            raise ConfigInvalid((f"{show(error.where)}: {error}",)) from error
        sized = replace(spec, footprint=found.footprint)
        return replace(found, fitting_file=await self._fitting_file(sized))

    async def _to_estimate(self, order: EstimateOrder) -> ModelSpec:
        catalogue, sized = self._catalogue, None
        if (there := on_hub(order, catalogue.config)) is not None:
            self._require_drivers(there)
            async with self._asking:
                found = await look_at(there, self._conductor.drivers[there.service], lambda _: None)
            if isinstance(found, Failure):
                raise Denied(_unclear(found))
            sized = found
        return to_estimate(order, catalogue.specs, catalogue.config, sized)

    def fits(self, spec: ModelSpec) -> Fits | None:
        """Whether there is room for it now, as a plan would find."""
        return fits(spec, self._conductor.scheduler.state.ledger)

    async def under_profiles(self, spec: ModelSpec) -> dict[str, ModelSpec]:
        """The model under each profile; none where its settings are not ours to choose."""
        under: dict[str, ModelSpec] = {}
        if not spec.settings_ours or spec.failed is not None:
            return under
        for name in self._catalogue.config.profiles:
            with suppress(Denied, ConfigInvalid, Unpredictable):
                order = LoadOrder(model=spec.name, profile=name)
                under[name] = await self._catalogue.resolve(order)
        return under

    async def unused_files(self) -> tuple[UnusedFile, ...]:
        """Files of which no model is made yet. One look at a time, whoever asks."""
        catalogue = self._catalogue
        async with self._looking:
            return await asyncio.to_thread(unused_files, catalogue.config, catalogue.specs)

    async def _find_size(self, spec: ModelSpec) -> Refusal | None:
        """Have the catalogue know what a model of a hub takes, or say why that is not to be had."""
        found = await look_at(spec, self._conductor.drivers[spec.service], lambda _: None)
        return _unclear(found) if isinstance(found, Failure) else None


def _unclear(found: Failure) -> Refusal:
    code = RefusalCode.LOAD_FAILED
    return Refusal(code=code, detail=found.detail, remedy=found.remedy, failure=found)


def _is_served_by(resident: Resident, spec: ModelSpec) -> bool:
    answers = resident.state is ResidentState.READY and resident.silent_since_s is None
    return answers and resident.serves(spec)
