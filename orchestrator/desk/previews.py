"""What an order would come to, without carrying it out: plans, suggestions, estimates."""

import asyncio
from dataclasses import replace

from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.ordered import to_estimate
from orchestrator.catalogue.sizing import Appraisal
from orchestrator.conductor.conductor import Conductor
from orchestrator.conductor.execution import look_at
from orchestrator.config.yaml_lines import show
from orchestrator.core.life.outages import refusal as unavailable
from orchestrator.core.life.outages import refusal_by_server
from orchestrator.core.room.eviction import Urgency
from orchestrator.core.room.placement import usable_devices
from orchestrator.core.room.planner import Plan, plan, possible
from orchestrator.core.room.question import Question
from orchestrator.core.values.failures import Failure
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import Resident, ResidentState
from orchestrator.core.values.specs import ModelSpec
from orchestrator.core.values.vram import DeviceKind
from orchestrator.errors import ConfigInvalid, Denied, Unpredictable
from orchestrator.orders import EstimateOrder, LoadOrder, Preview


class Previews:
    def __init__(self, conductor: Conductor, catalogue: Catalogue) -> None:
        self._conductor = conductor
        self._catalogue = catalogue

    async def startable(self, order: LoadOrder) -> ModelSpec:
        """Raise Denied also for a service that came with a reload: it has no drivers yet."""
        spec = await self._catalogue.resolve(order)
        if spec.service not in self._conductor.drivers:
            raise Denied(
                Refusal(
                    code=RefusalCode.CONFLICT,
                    detail=f"{spec.name} belongs to the service {spec.service}, which the "
                    "configuration did not have when the orchestrator was started.",
                    remedy="Restart the orchestrator; models that run go on meanwhile.",
                )
            )
        return spec

    async def of(self, order: LoadOrder) -> Preview:
        """What a load would do, without doing it: the scheduler's own plan."""
        spec, unclear = await self.startable(order), None
        if spec.footprint.unknown:
            unclear = await self._find_size(spec)
            spec = spec if unclear else await self.startable(order)
        state = self._conductor.scheduler.state
        resident = state.ledger.resident(spec.name)
        accounts = self._conductor.snapshot().accounts
        available_bytes = sum(account.available_bytes or 0 for account in accounts)
        if resident is not None and _is_served_by(resident, spec):
            placed = Plan(spec, resident.placement)
            return Preview(
                spec=replace(spec, given_up=resident.spec.given_up),
                plan=placed,
                refusal=None,
                available_bytes=available_bytes,
                eta_s=0.0,
                already_loaded=True,
            )
        urgency = Urgency(priority=spec.priority if order.priority is None else order.priority)
        asked = possible(
            Question(
                spec=spec,
                urgency=urgency,
                rules=state.rules,
                now_s=self._conductor.clock(),
                pinned=frozenset(state.pinned),
                silent=frozenset(state.silent),
                policy=state.policy,
                leases_end=state.leases_end_s,
            ),
            state.ledger,
        )
        found = unclear or self._silence(spec, resident) or plan(asked, state.ledger)
        refused = isinstance(found, Refusal)
        return Preview(
            spec=asked.spec,
            plan=None if isinstance(found, Refusal) else found,
            refusal=found if isinstance(found, Refusal) else None,
            available_bytes=available_bytes,
            eta_s=None if refused else spec.load_s,
            already_loaded=False,
        )

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
        return replace(refusal, suggestions=found, remedy=remedy)

    async def estimate(self, order: EstimateOrder) -> Appraisal:
        """What it would take. Raise Denied, or ConfigInvalid where the file is at fault."""
        if order.model is not None and (named := self._catalogue.named(order.model)).awaits_file:
            unsized = replace(named, footprint=UNKNOWN, auto_download=True)
            if (unclear := await self._find_size(unsized)) is not None:
                raise Denied(unclear)
        spec = to_estimate(order, self._catalogue.specs, self._catalogue.config)
        try:
            return await asyncio.to_thread(self._catalogue.predictions.appraise, spec)
        except Unpredictable as error:
            raise ConfigInvalid((f"{show(error.where)}: {error}",)) from error

    def _silence(self, spec: ModelSpec, resident: Resident | None) -> Refusal | None:
        if resident is not None and resident.silent_since_s is not None and resident.serves(spec):
            return refusal_by_server(resident, self._conductor.clock())
        silence = self._conductor.scheduler.state.silent.get(spec.service)
        return None if silence is None else unavailable(spec.name, silence)

    async def _find_size(self, spec: ModelSpec) -> Refusal | None:
        """Have the catalogue know what a model of a hub takes, or say why that is not to be had."""
        found = await look_at(spec, self._conductor.drivers[spec.service], lambda _: None)
        if not isinstance(found, Failure):
            return None
        code = RefusalCode.LOAD_FAILED
        return Refusal(code=code, detail=found.detail, remedy=found.remedy, failure=found)


def _is_served_by(resident: Resident, spec: ModelSpec) -> bool:
    answers = resident.state is ResidentState.READY and resident.silent_since_s is None
    return answers and resident.serves(spec)
