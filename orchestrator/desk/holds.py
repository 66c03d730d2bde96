"""Models that one request needs: held ready for as long as it takes, loaded first if need be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from orchestrator.access.keys.record import KeyScope
from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.conductor.conductor import Conductor
from orchestrator.core.values.messages import Grant, Requested
from orchestrator.core.values.residents import LEAVING, Resident, ResidentState
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.desk import permits
from orchestrator.desk.previews import Previews
from orchestrator.errors import Denied
from orchestrator.orders import LoadOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHold:
    """What one request asks of its model."""

    model: str
    wait_s: float
    priority: int | None = None
    context_size: int | None = None
    rights: Rights = EVERYTHING


class Holds:
    def __init__(self, conductor: Conductor, catalogue: Catalogue, previews: Previews) -> None:
        self._conductor = conductor
        self._catalogue = catalogue
        self._previews = previews

    @asynccontextmanager
    async def held(self, hold: ModelHold) -> AsyncIterator[Grant]:
        """The model, ready for the length of the block. Raise Denied, with what would fit instead;
        also when it was waited for as long as the request wants to wait. Raise Forbidden where its
        key may not load it.
        """
        deadline_s = self._conductor.clock() + hold.wait_s
        order = LoadOrder(model=hold.model, priority=hold.priority, context_size=hold.context_size)
        spec = await self._previews.startable(order)
        if hold.context_size is None:
            spec = self._as_it_comes(spec)
        rights = hold.rights
        rights.may_ask_with(hold.priority)
        priority = permits.priority(hold.priority, spec.priority, rights)
        if not self._is_ready(spec):
            rights.need(KeyScope.LOAD, f": {spec.name} is not ready as it is asked for")
        try:
            async with self._conductor.lease(
                spec,
                priority=priority,
                deadline_s=deadline_s,
                key=rights.id,
                bounds=permits.bounds(rights),
            ) as granted:
                yield granted
        except Denied as denied:
            refusal = await self._previews.with_suggestions(order, denied.refusal)
            raise Denied(refusal) from denied

    def stays(self, model: ModelName, ttl_s: float) -> None:
        """From now on it leaves by itself after so many idle seconds, if it is ready."""
        resident = self._conductor.scheduler.state.ledger.resident(model)
        if (
            resident is None
            or resident.state is not ResidentState.READY
            or resident.silent_since_s is not None
            or resident.ttl_s == ttl_s
        ):
            return
        self._conductor.wish(  # granted in the same call: it is what is wanted
            Requested(
                ticket=self._conductor.next_ticket(),
                spec=resident.spec,
                priority=resident.priority,
                ttl_s=ttl_s,
            )
        )

    def _as_it_comes(self, spec: ModelSpec) -> ModelSpec:
        """With the settings that another caller has just ordered for it, if any did: a request that
        asks for none is served by what runs or comes up.
        """
        resident = self._conductor.scheduler.state.ledger.resident(spec.name)
        if resident is None or resident.state in LEAVING or not self._ordered(resident, spec):
            return spec
        return resident.spec

    def _is_ready(self, spec: ModelSpec) -> bool:
        """Whether a wish for it is granted in the same call."""
        resident = self._conductor.scheduler.state.ledger.resident(spec.name)
        return (
            resident is not None
            and resident.state is ResidentState.READY
            and resident.silent_since_s is None
            and resident.serves(spec)
        )

    def _ordered(self, resident: Resident, spec: ModelSpec) -> bool:
        """Whether it differs from what the catalogue has by its settings alone."""
        as_configured = replace(
            resident.spec, serving=spec.wanted, asked=None, lora_scales=spec.lora_scales
        )
        return spec.launches_like(as_configured)
