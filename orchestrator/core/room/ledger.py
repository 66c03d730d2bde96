"""The account of VRAM: what exists, who holds it, what is left (R2).

The ledger is kept by the scheduler alone and read by all others. It is indexed by device,
so that a question about one device never looks at the residents of the others.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.values.residents import InstanceId, Placement, Resident, ResidentState
from orchestrator.core.values.snapshot import DeviceAccount
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId, DeviceKind, DeviceState, MiB, Reading

# The driver rounds to pages and pools; below this, a difference is no process's bytes.
SLACK_BYTES_MIN = 64 * MiB
SLACK_FRACTION = 0.05

_TAKING = frozenset({ResidentState.LOADING})
_GIVING_BACK = frozenset({ResidentState.UNLOADING, ResidentState.RELEASING, ResidentState.STUCK})
_MOVING = _TAKING | _GIVING_BACK


def _still_takes(resident: Resident) -> bool:
    """Also one that is told to stop while it loads: it goes on until its stop has come about."""
    stops = resident.state in (ResidentState.UNLOADING, ResidentState.STUCK)
    return resident.state in _TAKING or (stops and resident.ready_s is None)


@dataclass(frozen=True, slots=True)
class Account:
    """What is worked out about one device, until something on it changes."""

    free_bytes: int
    occupants: tuple[tuple[Resident, int], ...]  # with the bytes that they occupy
    charged_bytes: int
    idle_bytes: int  # held by ready residents that are idle, and those that load unasked
    yieldable_bytes: int  # held by all of these, and the ready ones that are in use
    in_use_bytes: Mapping[int, int]  # of the ready ones that are in use, by priority


@dataclass(frozen=True, slots=True)
class HeldRange:
    """What of a device's used bytes belongs to one resident: known exactly, or within bounds."""

    low: int
    high: int


class Ledger:
    def __init__(
        self,
        *,
        headroom_bytes: int = 0,
        budget_bytes: Mapping[str, int] | int | None = None,
    ) -> None:
        self._headroom_bytes = headroom_bytes
        self._budget_bytes = budget_bytes
        self._readings: dict[DeviceId, Reading] = {}
        self._residents: dict[ModelName, Resident] = {}
        self._on: dict[DeviceId, dict[InstanceId, Resident]] = {}
        self._held: Mapping[InstanceId, Mapping[DeviceId, int]] = {}
        self._held_last: Mapping[InstanceId, Mapping[DeviceId, int]] = {}
        self._foreign: dict[DeviceId, int] = {}
        self._accounts: dict[DeviceId, Account] = {}
        # Per device: the two residents that moved last, and when (one may be the one asked about).
        self._moved: dict[DeviceId, dict[InstanceId, int]] = {}
        self.version = 0

    # --- what is ---------------------------------------------------------------------------

    @property
    def devices(self) -> Iterable[DeviceId]:
        return self._readings.keys()

    @property
    def residents(self) -> Iterable[Resident]:
        return self._residents.values()

    def resident(self, model: ModelName) -> Resident | None:
        return self._residents.get(model)

    def life(self, instance: InstanceId) -> Resident | None:
        """That one, and no other life of its model."""
        there = (one for one in self._residents.values() if one.instance == instance)
        return next(there, None)

    def on(self, device: DeviceId) -> Iterable[Resident]:
        return self._on.get(device, {}).values()

    def knows(self, device: DeviceId) -> bool:
        return device in self._readings

    def reading(self, device: DeviceId) -> Reading:
        return self._readings[device]

    def readable(self, device: DeviceId) -> bool:
        reading = self._readings[device]
        return reading.state is DeviceState.OK and reading.used_bytes is not None

    # --- changes, by the scheduler only -------------------------------------------------------

    def put(self, resident: Resident) -> None:
        """Add a resident, or replace the one of that name."""
        before = self._residents.get(resident.name)
        if before is not None and before.placement != resident.placement:
            self._take_off(before)
        self._residents[resident.name] = resident
        moves = resident.state in _MOVING or (before is not None and before.state in _MOVING)
        for device in resident.placement.devices:
            self._on.setdefault(device, {})[resident.instance] = resident
            self._accounts.pop(device, None)
            if moves:
                self._note_move(device, resident.instance)
        self.version += 1

    def drop(self, model: ModelName) -> None:
        gone = self._residents.pop(model)
        self._take_off(gone)
        for device in gone.placement.devices:
            self._note_move(device, gone.instance)
        self.version += 1

    def observe(
        self,
        readings: Iterable[Reading],
        held: Mapping[InstanceId, Mapping[DeviceId, int]],
    ) -> None:
        """Take fresh readings in, and settle the foreign bytes of their devices."""
        self._held = held
        self._held_last = {
            resident.instance: held.get(resident.instance)
            or self._held_last.get(resident.instance, {})
            for resident in self._residents.values()
        }
        for reading in readings:
            self._readings[reading.device.id] = reading
            self._accounts.pop(reading.device.id, None)
            if self.readable(reading.device.id):
                self._foreign[reading.device.id] = self._estimate_foreign(reading.device.id)
        self.version += 1

    def touch(self) -> None:
        """Something that shows beside the account has changed."""
        self.version += 1

    def unsettle(self, device: DeviceId) -> None:
        """What was taken for foreign may have been ours: the next reading decides afresh."""
        self._foreign.pop(device, None)
        self._accounts.pop(device, None)

    def settle(self, device: DeviceId) -> None:
        """Look at the foreign bytes again: a resident there has come to rest or has gone."""
        if device in self._readings and self.readable(device):
            self._foreign[device] = self._estimate_foreign(device)
            self._accounts.pop(device, None)

    def rule(self, *, headroom_bytes: int, budget_bytes: Mapping[str, int] | int | None) -> None:
        """The operator changed what may be used."""
        self._headroom_bytes, self._budget_bytes = headroom_bytes, budget_bytes
        self._accounts.clear()
        self.version += 1

    # --- the account ---------------------------------------------------------------------------

    def limit_bytes(self, device: DeviceId) -> int:
        """What we would plan to use of the device if it were empty."""
        total_bytes = self._readings[device].total_bytes or 0
        limit_bytes = total_bytes - self._headroom_bytes
        budget_bytes = self._budget_of(device)
        return limit_bytes if budget_bytes is None else min(limit_bytes, budget_bytes)

    def foreign_bytes(self, device: DeviceId) -> int:
        """Held by processes that are not ours."""
        return self._foreign.get(device, 0)

    def foreign_matters(self, device: DeviceId) -> bool:
        """Whether more could be used if the others were not there: a budget may be narrower."""
        total_bytes = self._readings[device].total_bytes or 0
        left_bytes = total_bytes - self._headroom_bytes - self.foreign_bytes(device)
        return left_bytes < self.limit_bytes(device)

    def charged_bytes(self, device: DeviceId) -> int:
        """A resident counts until it is gone: promised and departing VRAM is not free."""
        return self._account(device).charged_bytes

    def occupied_bytes(self, resident: Resident, device: DeviceId) -> int:
        known = self._held.get(resident.instance, {}).get(device, 0)
        return max(resident.placement.on(device), known)

    def occupants(self, device: DeviceId) -> Iterable[tuple[Resident, int]]:
        """Who is there, with the bytes that it occupies."""
        return self._account(device).occupants

    def held_bytes(self, resident: Resident, device: DeviceId) -> int | None:
        """What its processes are seen to hold now; None: they are not seen."""
        return self._held.get(resident.instance, {}).get(device)

    def last_held_bytes(self, resident: Resident, device: DeviceId) -> int | None:
        """What they held when they were last seen, which may have been the end of them."""
        return self._held_last.get(resident.instance, {}).get(device)

    def free_bytes(self, device: DeviceId) -> int:
        """What may still be promised; below zero when others took what was promised."""
        return self._account(device).free_bytes

    def yieldable_bytes(self, device: DeviceId, *, below_priority: int | None = None) -> int:
        """At most so much would come free if every resident gave way that might.

        The idle might; of those in use, the ones below the priority, or all where none is given.
        """
        account = self._account(device)
        if below_priority is None:
            return account.yieldable_bytes
        return account.idle_bytes + sum(
            held for priority, held in account.in_use_bytes.items() if priority < below_priority
        )

    def available_bytes(self, device: DeviceId) -> int:
        return max(0, self.free_bytes(device)) if self.readable(device) else 0

    def has_now(self, resident: Resident) -> bool:
        """Whether every device of a reserved resident physically has its bytes, right now.

        The last gate before a start: the driver's own word, less what others that load at this
        moment are still going to take. Headroom is there to be used by surprises, so it counts.
        """
        return all(
            self.readable(device) and self.physically_free(device, resident) >= share
            for device, share in resident.placement.shares
        )

    def could_have(self, placement: Placement, leaving: Sequence[Resident]) -> bool:
        """Whether its devices may be planned on, and hold its bytes once those have left."""
        return all(
            self.readable(device)
            and share <= self.limit_bytes(device)
            and share
            <= (self._readings[device].free_bytes or 0)
            + sum(self.occupied_bytes(victim, device) for victim in leaving)
            for device, share in placement.shares
        )

    def physically_free(self, device: DeviceId, newcomer: Resident) -> int:
        """What the device has, less what others that load at this moment still take of it."""
        outstanding = 0
        for resident in self.on(device):
            if resident.instance == newcomer.instance or not _still_takes(resident):
                continue
            known = self._held.get(resident.instance, {}).get(device, 0)
            outstanding += max(0, resident.placement.on(device) - known)
        return (self._readings[device].free_bytes or 0) - outstanding

    def owed_bytes(self, resident: Resident) -> int:
        """What the devices of a resident that is gone still count as used, unexplained (R3).

        Zero once the difference is no more than the driver's own rounding. Host RAM owes nothing:
        the kernel has it back before it tells of the end, and other programs move it meanwhile.
        """
        owed = 0
        for device, share in resident.placement.shares:
            if not self.knows(device) or not self.readable(device):
                continue
            if self._readings[device].device.kind is DeviceKind.GPU:
                unexplained = self.unexplained_bytes(device, resident)
                slack = max(SLACK_BYTES_MIN, int(share * SLACK_FRACTION))
                owed += min(unexplained, share) if unexplained > slack else 0
        return owed

    def unexplained_bytes(self, device: DeviceId, resident: Resident) -> int:
        """Used there, and held neither by the other residents nor by foreign processes: what is
        left to be the resident's own.
        """
        used_bytes = self._readings[device].used_bytes or 0
        explained = sum(
            self._held_range(other, device).low
            for other in self.on(device)
            if other.instance != resident.instance
        )
        return used_bytes - explained - self.foreign_bytes(device)

    def alone_since(self, resident: Resident, device: DeviceId, version: int) -> bool:
        """Whether no other resident has taken or given back bytes of the device since then."""
        moved = self._moved.get(device, {})
        if any(at >= version for who, at in moved.items() if who != resident.instance):
            return False
        return not any(
            other.state in _MOVING or other.spec.plain_room
            for other in self.on(device)
            if other.instance != resident.instance
        )

    def accounts(self) -> Iterator[DeviceAccount]:
        for device, reading in self._readings.items():
            readable = self.readable(device)
            yield DeviceAccount(
                reading=reading,
                foreign_bytes=self.foreign_bytes(device) if readable else None,
                headroom_bytes=self._headroom_bytes,
                available_bytes=self.available_bytes(device) if readable else None,
                charged_bytes=self.charged_bytes(device),
            )

    # --- how it is counted ---------------------------------------------------------------------

    def _note_move(self, device: DeviceId, instance: InstanceId) -> None:
        moved = self._moved.setdefault(device, {})
        moved.pop(instance, None)
        moved[instance] = self.version
        while len(moved) > 2:
            del moved[next(iter(moved))]

    def _take_off(self, resident: Resident) -> None:
        for device in resident.placement.devices:
            self._on.get(device, {}).pop(resident.instance, None)
            self._accounts.pop(device, None)

    def _budget_of(self, device: DeviceId) -> int | None:
        if self._budget_bytes is None or isinstance(self._budget_bytes, int):
            return self._budget_bytes
        reading = self._readings[device]
        return self._budget_bytes.get(device, self._budget_bytes.get(reading.device.name))

    def _account(self, device: DeviceId) -> Account:
        account = self._accounts.get(device)
        if account is None:
            account = self._accounts[device] = self._work_out(device)
        return account

    def _work_out(self, device: DeviceId) -> Account:
        charged = idle = yieldable = 0
        in_use: dict[int, int] = {}
        occupants = tuple((there, self.occupied_bytes(there, device)) for there in self.on(device))
        for resident, occupied in occupants:
            charged += occupied
            if not resident.movable:
                continue
            yieldable += occupied
            if resident.in_use:
                in_use[resident.priority] = in_use.get(resident.priority, 0) + occupied
            else:
                idle += occupied
        total_bytes = self._readings[device].total_bytes or 0
        free_bytes = total_bytes - self._headroom_bytes - self.foreign_bytes(device) - charged
        budget_bytes = self._budget_of(device)
        if budget_bytes is not None:
            free_bytes = min(free_bytes, budget_bytes - charged)
        return Account(free_bytes, occupants, charged, idle, yieldable, in_use)

    def _held_range(self, resident: Resident, device: DeviceId) -> HeldRange:
        share = resident.placement.on(device)
        known = self._held.get(resident.instance, {}).get(device)
        if resident.state is ResidentState.RESERVED:
            return HeldRange(0, 0)
        if resident.spec.plain_room:
            return HeldRange(0, share)  # it is filled by a process that is not ours
        if resident.state in _GIVING_BACK:
            return HeldRange(known or 0, max(share, known or 0))
        if known is not None:
            return HeldRange(known, known)
        return HeldRange(0, share) if resident.state in _TAKING else HeldRange(share, share)

    def _estimate_foreign(self, device: DeviceId) -> int:
        """Used bytes that no resident explains.

        While a resident takes or gives back bytes that cannot be seen, the last settled figure
        stands, moved only as far as the driver's word forces it.
        """
        used_bytes = self._readings[device].used_bytes or 0
        ranges = [self._held_range(resident, device) for resident in self.on(device)]
        least = max(0, used_bytes - sum(held.high for held in ranges))
        most = max(0, used_bytes - sum(held.low for held in ranges))
        settled = self._foreign.get(device)
        return most if settled is None else min(max(settled, least), most)
