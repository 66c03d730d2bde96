"""Who is charged for what: the keys of callers, and how much of their quotas is left.

A model is charged to the key whose wish brought it, for as long as it is there, also after a
restart and if the key was revoked; and beside that to each key that leases it. What was found,
adopted without a record, or brought back for no caller, is charged to none. What is charged to a
key counts for the bounds of the keys that it was made with, too.
"""

from collections.abc import Mapping, Sequence

from orchestrator.core.life.queue import Wish
from orchestrator.core.life.state import State
from orchestrator.core.room.quota import Quota, held_bytes, over_quota
from orchestrator.core.values.key_bounds import KeyBound
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import Requested
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.residents import LEAVING, Resident
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.tickets import Ticket


def charged(state: State, keys: frozenset[str]) -> Mapping[ModelName, int]:
    """What these keys have brought and lease, in bytes, each model once. What is on its way out
    counts no more.
    """
    leased = {
        lease.instance
        for lease in state.leases.values()
        if lease.key in keys and lease.kind is not LeaseKind.REQUEST
    }
    return {
        resident.name: held_bytes(resident.placement, state.ledger)
        for resident in state.ledger.residents
        if resident.state not in LEAVING and (resident.key in keys or resident.instance in leased)
    }


def quota_of(
    state: State, key: str | None, bounds: Sequence[KeyBound], *, beside: ModelName | None = None
) -> Quota | None:
    """The tightest of the key's bounds; None: it has none. `beside`: a model that would be started
    anew does not count twice.
    """
    if key is None:
        return None
    quotas = [_quota(state, key, bound, beside) for bound in bounds]
    return min(quotas, key=lambda quota: quota.left_bytes, default=None)


def _quota(state: State, key: str, bound: KeyBound, beside: ModelName | None) -> Quota:
    own = charged(state, frozenset((key,)))
    shared = charged(state, bound.keys)
    return Quota(
        bound.limit_bytes,
        {name: size for name, size in own.items() if name != beside},
        sum(size for name, size in shared.items() if name not in own and name != beside),
    )


def payer(state: State, wishes: Sequence[Wish], *, beside: ModelName | None = None) -> Requested:
    """The wish whose key is charged, of those who decide on one load: the first that can pay, else
    the one with most left. `beside` as of a quota.
    """
    first = wishes[0].request
    if not first.bounds:
        return first
    needed_bytes = first.spec.footprint.device_bytes
    left: dict[Ticket, float] = {}
    for wish in wishes:
        quota = quota_of(state, wish.request.key, wish.request.bounds, beside=beside)
        left[wish.request.ticket] = float("inf") if quota is None else quota.left_bytes
        if left[wish.request.ticket] >= needed_bytes:
            return wish.request
    return max((wish.request for wish in wishes), key=lambda wish: left[wish.ticket])


def too_much_to_lease(
    state: State,
    hold: LeaseKind | None,
    key: str | None,
    bounds: Sequence[KeyBound],
    resident: Resident,
) -> Refusal | None:
    """Why its key may not keep a model that others have brought; None: it may, or does not want to.

    What it has brought itself, or leases already, is charged to it anyway; so it is with what is
    charged to a key that shares the bound.
    """
    if hold not in (LeaseKind.OWNER, LeaseKind.ROOM):
        return None
    adding = [bound for bound in bounds if resident.name not in charged(state, bound.keys)]
    quota = quota_of(state, key, adding)
    needed_bytes = held_bytes(resident.placement, state.ledger)
    if quota is None or needed_bytes <= quota.left_bytes:
        return None
    return over_quota(resident.name, needed_bytes, quota)
