"""Leases: plain VRAM for work that is no model server; any of them renewed and given back."""

import asyncio
import re
import uuid

from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.conductor.conductor import Conductor
from orchestrator.conductor.journal import of_lease
from orchestrator.core.values.leases import LeaseId, LeaseKind
from orchestrator.core.values.messages import Released, Renewed, Requested
from orchestrator.core.values.specs import PRIORITY_DEFAULT, ModelName, room_spec
from orchestrator.desk import permits
from orchestrator.orders import RenewOutcome, RoomOrder, RoomOutcome

OWNER_SHOWN_MAX = 32


class Leases:
    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    async def room(self, order: RoomOrder, rights: Rights = EVERYTHING) -> RoomOutcome:
        """Room for work that is not ours. If the caller is cancelled, nothing stays leased. Raise
        Denied or Forbidden.
        """
        permits.may_lease_room(order, rights)
        ticket = self._conductor.next_ticket()
        name = ModelName(f"lease-{_slug(order.owner)}-{uuid.uuid4().hex[:8]}")
        priority = permits.priority(order.priority, PRIORITY_DEFAULT, rights)
        spec = room_spec(name, order.vram_bytes, order.device, priority)
        wanted = Requested(
            ticket=ticket,
            spec=spec,
            priority=spec.priority,
            hold=LeaseKind.ROOM,
            lease_s=order.lease_s,
            owner=order.owner,
            deadline_s=self._conductor.clock() + order.wait_s,
            key=rights.id,
            bounds=permits.bounds(rights),
        )
        try:
            granted = await self._conductor.wish(wanted)
        except asyncio.CancelledError:
            self._conductor.withdraw(ticket)
            raise
        assert granted.lease is not None
        return RoomOutcome(
            lease=granted.lease,
            resident=granted.resident,
            evicted=granted.evicted,
            durable=granted.durable,
        )

    def room_unheard(self, outcome: RoomOutcome) -> None:
        """The answer did not reach its caller: nothing stays leased, unless it was used since."""
        self._conductor.withdraw(outcome.lease.ticket)

    async def renew(
        self, lease: LeaseId, lease_s: float, rights: Rights = EVERYTHING
    ) -> RenewOutcome:
        """Raise KeyError if it is not known, has ended or is another's; Forbidden."""
        leases = self._conductor.scheduler.state.leases
        if lease not in leases or not rights.owns(leases[lease].key):
            raise KeyError(lease)
        rights.may_lease_for(lease_s)
        self._conductor.order(Renewed(lease, self._conductor.clock() + lease_s))
        renewed = leases[lease]
        return RenewOutcome(
            lease=renewed, durable=await self._conductor.journal.until_kept(of_lease(lease))
        )

    async def release(self, lease: LeaseId, rights: Rights = EVERYTHING) -> bool:
        """Also if it had ended already. False: a restart may bring it back. Of another's nothing
        is said, and nothing happens to it.
        """
        held = self._conductor.scheduler.state.leases.get(lease)
        if held is not None and not rights.owns(held.key):
            return True
        self._conductor.order(Released(lease))
        return await self._conductor.journal.until_kept(of_lease(lease))


def _slug(owner: str) -> str:
    """The owner as part of a name that people read in the log."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", owner)[:OWNER_SHOWN_MAX].strip("-") or "nobody"
