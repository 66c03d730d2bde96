"""What a caller's key lets it order: plain functions of its rights, the order and what is there."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.access.keys.record import KeyScope
from orchestrator.access.rights import Rights
from orchestrator.core.values.key_bounds import KeyBound
from orchestrator.core.values.leases import Lease
from orchestrator.core.values.residents import Resident
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.specs import ModelSpecs
from orchestrator.core.values.vram import MiB
from orchestrator.orders import LoadOrder, RoomOrder, UnloadOrder


def visible(specs: ModelSpecs, rights: Rights) -> ModelSpecs:
    """The models that there are for the caller: others it hears nothing of."""
    if rights.key is None or rights.key.models == ("*",):
        return specs
    return {name: spec for name, spec in specs.items() if rights.sees(name)}


def bounds(rights: Rights) -> tuple[KeyBound, ...]:
    """Of what its key may hold: its own, and those of the keys that it was made with."""
    return tuple(KeyBound(share.vram_mb * MiB, share.keys) for share in rights.shares)


def priority(asked: int | None, usual: int, rights: Rights) -> int:
    """What is not asked for stays below the ceiling; what is asked beyond it was refused before."""
    ceiling = None if rights.key is None else rights.key.max_priority
    if asked is not None or ceiling is None:
        return usual if asked is None else asked
    return min(usual, ceiling)


def may_load(order: LoadOrder, lease_s: float, rights: Rights) -> None:
    """Raise Forbidden. `lease_s` is how long a lease is where the order does not say."""
    rights.may_ask_with(order.priority)
    if order.pin:
        rights.need(KeyScope.ADMIN, ", which a pin takes")
    if order.owner is not None or order.lease_s is not None:
        rights.need(KeyScope.LEASE, ", which a lease takes")
        rights.may_lease_for(lease_s if order.lease_s is None else order.lease_s)


def may_lease_room(order: RoomOrder, rights: Rights) -> None:
    """Raise Forbidden."""
    rights.may_ask_with(order.priority)
    rights.may_lease_for(order.lease_s)


def may_unload(
    order: UnloadOrder, resident: Resident | None, leases: Sequence[Lease], rights: Rights
) -> None:
    """Raise Forbidden: what others have loaded or leased is theirs. `leases` are on the model."""
    if order.force:
        rights.need(KeyScope.ADMIN, ", which force takes")
    if order.owner is None and order.lease is None:
        if resident is not None and not rights.owns(resident.key):
            rights.need(KeyScope.ADMIN, f": {resident.name} was loaded by others")
        return
    for lease in leases:
        ends = order.lease == lease.id or (lease.owner is not None and order.owner == lease.owner)
        if ends and not rights.owns(lease.key):
            rights.need(KeyScope.ADMIN, ": the lease is another's")
    if resident is not None and not rights.owns(resident.key):
        held = any(rights.owns(lease.key) for lease in leases)
        if not held:
            rights.need(KeyScope.ADMIN, f": {resident.name} was loaded by others")


def may_hear(model: str | None, rights: Rights) -> bool:
    """What happened to a model is for those who see it; what concerns none, for admins."""
    return rights.sees_all or (model is not None and rights.sees(model))


def seen(snapshot: Snapshot, rights: Rights) -> Snapshot:
    """What a caller is shown: its models and leases. What others hold it sees in the sums alone."""
    if rights.sees_all:
        return snapshot

    def shown(resident: Resident) -> bool:
        own = rights.owns(resident.key)
        return own if resident.spec.plain_room else rights.sees(resident.name)

    residents = tuple(filter(shown, snapshot.residents))
    here = {resident.instance for resident in residents}
    return replace(
        snapshot,
        residents=residents,
        leases=tuple(
            lease for lease in snapshot.leases if lease.instance in here and rights.owns(lease.key)
        ),
        queue=tuple(one for one in snapshot.queue if rights.sees(one.model)),
        pinned=frozenset(filter(rights.sees, snapshot.pinned)),
        breakers={
            name: breaker for name, breaker in snapshot.breakers.items() if rights.sees(name)
        },
    )
