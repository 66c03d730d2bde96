"""Devices without hardware: charged by what runs, and changed while they run.

The account lives in a directory (`stand_in/claims.py`), so a fake device outlives the daemon
as a GPU would: what still runs is still charged after a restart.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from orchestrator.core.values.vram import (
    Device,
    DeviceId,
    DeviceKind,
    DeviceState,
    ProcessUse,
    Reading,
)
from orchestrator.ports import Clock
from orchestrator.stand_in.claims import (
    AccountLocked,
    Claim,
    FakeAccount,
    FakeDeviceState,
    Fault,
    account_lock,
    read_account,
    write_account,
)

TEMPERATURE_C = 40.0  # a fake device is never warm


class Unset(Enum):
    """Not given, where None means something."""

    UNSET = "unset"


UNSET = Unset.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeDeviceSpec:
    name: str
    total_bytes: int
    release_lag_s: float = 0.0  # how long the bytes of a dead process are still counted
    kind: DeviceKind = DeviceKind.GPU
    processes_visible: bool = True  # False: as in a container that does not see the host's pids
    utilization_percent: float | None = 0.0
    temperature_c: float | None = TEMPERATURE_C


class FakeDevices:
    def __init__(self, clock: Clock, state_dir: Path, specs: Sequence[FakeDeviceSpec]) -> None:
        """Continue the account in `state_dir`: foreign bytes, faults and claims stay.

        Raise OSError if the directory cannot be written, ValueError if its account is broken.
        """
        self._clock = clock
        self._directory = state_dir
        self._specs = {DeviceId(f"fake-{index}"): spec for index, spec in enumerate(specs)}
        state_dir.mkdir(parents=True, exist_ok=True)
        with account_lock(state_dir):
            account = read_account(state_dir)
            write_account(state_dir, replace(account, devices=self._reconciled(account.devices)))

    async def read(self, pids: frozenset[int] | None) -> tuple[Reading, ...]:
        """In a thread: it looks at every process that holds something, and a disk may be slow."""
        return await asyncio.to_thread(self._read, wants_processes=pids is not None)

    def _read(self, *, wants_processes: bool) -> tuple[Reading, ...]:
        try:
            account = self._settle(self._account())
        except (OSError, ValueError) as error:
            problem = (
                f"The account of the fake devices in {self._directory} cannot be read ({error}). "
                "Stop the daemon and the stand-in servers, delete the directory and start again."
            )
            return tuple(
                self._out_of_order(d, DeviceState.UNREADABLE, problem) for d in self._specs
            )
        return tuple(
            self._reading(account, device_id, wants_processes=wants_processes)
            for device_id in self._specs
        )

    def set(
        self,
        device_id: DeviceId,
        *,
        foreign_bytes: int | None = None,
        fault: Fault | Unset | None = UNSET,
    ) -> None:
        """Change a device while it runs; what is not given stays as it is.

        Raise KeyError if there is no such device, ValueError if foreign processes would hold
        less than nothing or more than there is.
        """
        total_bytes = self._specs[device_id].total_bytes
        if foreign_bytes is not None and not 0 <= foreign_bytes <= total_bytes:
            raise ValueError(
                f"foreign bytes must be between 0 and {total_bytes}, not {foreign_bytes}"
            )
        with account_lock(self._directory):
            account = self._account()
            device = account.devices[device_id]
            changed = replace(
                device,
                foreign_bytes=device.foreign_bytes if foreign_bytes is None else foreign_bytes,
                fault=device.fault if fault is UNSET else fault,
            )
            devices = {**account.devices, device_id: changed}
            write_account(self._directory, replace(account, devices=devices))

    async def close(self) -> None:
        """Nothing is held: the account is a file."""

    def _reconciled(self, known: Mapping[str, FakeDeviceState]) -> dict[str, FakeDeviceState]:
        nothing = FakeDeviceState(total_bytes=0)
        return {
            device_id: replace(
                known.get(device_id, nothing),
                total_bytes=spec.total_bytes,
                foreign_bytes=min(known.get(device_id, nothing).foreign_bytes, spec.total_bytes),
            )
            for device_id, spec in self._specs.items()
        }

    def _account(self) -> FakeAccount:
        account = read_account(self._directory)
        missing = self._specs.keys() - account.devices.keys()
        if missing:
            raise ValueError(f"it does not know {', '.join(sorted(missing))}")
        return account

    def _settle(self, account: FakeAccount) -> FakeAccount:
        """Mark claims of processes that died, and drop those that have lagged long enough."""
        now_s = self._clock()
        if self._after(account.claims, now_s) == account.claims:
            return account
        # A stopped process may hold the lock, a disk may be full: a later reading tries again.
        with suppress(AccountLocked, OSError), account_lock(self._directory, wait_s=0.0):
            account = self._account()
            account = replace(account, claims=self._after(account.claims, now_s))
            write_account(self._directory, account)
        return account

    def _after(self, claims: tuple[Claim, ...], now_s: float) -> tuple[Claim, ...]:
        """The claims at `now_s`: of newly dead processes marked, without bytes given back."""
        noticed = (
            replace(claim, gone_s=now_s) if claim.gone_s is None and not claim.alive else claim
            for claim in claims
        )
        remaining = (self._remainder(claim, now_s) for claim in noticed)
        return tuple(claim for claim in remaining if claim.gone_s is None or claim.bytes_by_device)

    def _remainder(self, claim: Claim, now_s: float) -> Claim:
        """What of a claim still counts: the devices of a dead process lag by times of their own."""
        if claim.gone_s is None:
            return claim
        gone_for_s = now_s - claim.gone_s
        lagging = {
            device_id: size_bytes
            for device_id, size_bytes in claim.bytes_by_device.items()
            if device_id in self._specs
            and gone_for_s < self._specs[DeviceId(device_id)].release_lag_s
        }
        return replace(claim, bytes_by_device=lagging)

    def _reading(
        self, account: FakeAccount, device_id: DeviceId, *, wants_processes: bool
    ) -> Reading:
        spec, state = self._specs[device_id], account.devices[device_id]
        if state.fault is not None:
            return self._out_of_order(
                device_id, DeviceState(state.fault), _problem(device_id, state.fault)
            )
        return Reading(
            device=self._device(device_id),
            read_s=self._clock(),
            state=DeviceState.OK,
            total_bytes=spec.total_bytes,
            free_bytes=max(0, spec.total_bytes - account.held_bytes(device_id)),
            utilization_percent=spec.utilization_percent,
            temperature_c=spec.temperature_c,
            processes=_processes(account, device_id, spec) if wants_processes else None,
        )

    def _out_of_order(self, device_id: DeviceId, state: DeviceState, problem: str) -> Reading:
        return Reading(
            device=self._device(device_id), read_s=self._clock(), state=state, problem=problem
        )

    def _device(self, device_id: DeviceId) -> Device:
        spec = self._specs[device_id]
        return Device(id=device_id, name=spec.name, kind=spec.kind)


def _processes(
    account: FakeAccount, device_id: DeviceId, spec: FakeDeviceSpec
) -> tuple[ProcessUse, ...]:
    """Only living processes: a driver lists none whose bytes merely lag."""
    if not spec.processes_visible:
        return ()
    return tuple(
        ProcessUse(pid=claim.pid, used_bytes=claim.on(device_id))
        for claim in account.claims
        if claim.gone_s is None and claim.on(device_id) > 0
    )


def _problem(device_id: DeviceId, fault: Fault) -> str:
    return (
        f"The fake device was told to be {fault.value}. "
        f'PUT /devices/{device_id}/fake {{"fault": null}} ends it.'
    )
