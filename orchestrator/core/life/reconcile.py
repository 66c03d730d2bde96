"""After a restart: what we believed, what runs, and what to make of the difference (R11)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.core.values.residents import (
    LEAVING,
    SERVING,
    Endpoint,
    InstanceId,
    Leaving,
    ReadyState,
    Resident,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Something of ours that runs now."""

    instance: InstanceId
    model: ModelName
    endpoint: Endpoint
    health: ReadyState


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`residents` go to the scheduler in the state that fits; the rest is cleaned up."""

    residents: tuple[Resident, ...]
    remove: tuple[InstanceId, ...]  # runs, is ours, and is not wanted
    forget: tuple[InstanceId, ...]  # was believed in, and is gone


def reconcile(
    believed: Sequence[Resident],
    seen: Sequence[Sight],
    adoptable: Mapping[InstanceId, Resident],
    now_s: float,
) -> Verdict:
    """Adopt what is healthy, go on with what was begun, remove what is broken.

    `adoptable` are residents drawn up for things that run but were never written down: the
    disk may have lost a row, and a model that runs is not stopped for that. Of two copies of
    one model only one stays: the one that was believed in, else the first one seen.
    """
    sights = {sight.instance: sight for sight in seen}
    residents: dict[ModelName, Resident] = {}
    remove: list[InstanceId] = []
    forget: list[InstanceId] = []
    for resident in believed:
        sight = sights.pop(resident.instance, None)
        if resident.spec.plain_room and resident.state in SERVING:
            residents[resident.name] = resident  # nothing runs for it; its lease decides
        elif sight is None:
            forget.append(resident.instance)
        elif resident.name in residents:
            remove.append(resident.instance)
            forget.append(resident.instance)
        else:
            residents[resident.name] = _continued(resident, sight, now_s)
    for sight in sights.values():
        resident_drawn_up = adoptable.get(sight.instance)
        if (
            resident_drawn_up is None
            or sight.model in residents
            or sight.health is ReadyState.BROKEN
        ):
            remove.append(sight.instance)
        else:
            residents[sight.model] = _continued(resident_drawn_up, sight, now_s)
    return Verdict(residents=tuple(residents.values()), remove=tuple(remove), forget=tuple(forget))


def come_back(
    life: Resident, sight: Sight, present: Resident | None, now_s: float
) -> Resident | None:
    """A thing of ours had ended, and was started again by others: the same life goes on.

    `present` is the resident in the table under its name. None: this one is not wanted, because
    another copy has taken its place or it is known to run.
    """
    if present is not None and (
        present.instance != sight.instance or present.state is not ResidentState.RELEASING
    ):
        return None
    leaving = () if present is None else present.leaving
    state = ResidentState.UNLOADING if leaving else ResidentState.READY
    resumed = replace(life, state=state, leaving=leaving, ready_s=None, unpromised=True)
    return _continued(resumed, sight, now_s, leaving=leaving)


def _continued(
    resident: Resident, sight: Sight, now_s: float, leaving: tuple[Leaving, ...] = ()
) -> Resident:
    """The same life, in the state that it can go on from."""
    if resident.state in LEAVING or sight.health is ReadyState.BROKEN:
        state = ResidentState.UNLOADING
    elif sight.health is ReadyState.STARTING:
        state = ResidentState.LOADING
    else:
        state = ResidentState.READY
    ready_s = resident.ready_s or now_s if state is ResidentState.READY else None
    return replace(
        resident,
        state=state,
        state_since_s=now_s,
        endpoint=sight.endpoint,
        ready_s=ready_s,
        last_used_s=now_s,  # it was not watched meanwhile: that time was not idle
        lease_count=0,
        busy=False,
        silent_since_s=None,
        leaving=leaving,  # who wanted it gone before a restart does not wait any more
        why_leaving="" if state is not ResidentState.UNLOADING else "it was on its way out",
    )
