"""What processes hold of the fake devices: one small file that they share.

The stand-in model server claims bytes here and is refused when the device is full, which is how
a fake GPU really runs out of memory. A process that dies gives nothing back by itself: its claim
counts until the reader (`devices/fake.py`) has noticed the death and the device's release lag is
over. Everything is in `account.json`, written whole and renamed into place under a file lock, so
that a reader never sees half of it and a process killed in mid-write leaves no trace.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from orchestrator.errors import Failed

ACCOUNT_FILE = "account.json"
LOCK_FILE = "lock"
ACCOUNT_VERSION = 1
LOCK_WAIT_S = 5.0  # a writer holds the lock for a millisecond; longer means it is stopped
LOCK_POLL_S = 0.002


class Fault(StrEnum):
    UNREADABLE = "unreadable"
    LOST = "lost"


class ClaimRefused(Failed):
    """The device does not have the bytes: out of memory, as a CUDA program would find it."""

    def __init__(self, device_id: str, missing_bytes: int) -> None:
        super().__init__(f"{device_id} is out of memory: {missing_bytes} bytes are missing")
        self.device_id = device_id
        self.missing_bytes = missing_bytes


class AccountLocked(Failed):
    """Another process keeps the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one process holds. `gone_s` is when its death was noticed; None while it lives."""

    pid: int
    started: int  # with the pid, the identity of a process: pids are used again
    bytes_by_device: Mapping[str, int]
    gone_s: float | None = None

    def on(self, device_id: str) -> int:
        return self.bytes_by_device.get(device_id, 0)

    @property
    def alive(self) -> bool:
        return process_started(self.pid) == self.started


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeDeviceState:
    total_bytes: int
    foreign_bytes: int = 0
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeAccount:
    devices: Mapping[str, FakeDeviceState] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()

    def held_bytes(self, device_id: str) -> int:
        """Foreign bytes and every claim, those of dead processes that still lag included."""
        claimed_bytes = sum(claim.on(device_id) for claim in self.claims)
        return self.devices[device_id].foreign_bytes + claimed_bytes


def process_started(pid: int) -> int | None:
    """When the process started, in the kernel's ticks; None if it is gone or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return None
    # A zombie has given its memory back already; it only waits for its parent.
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def read_account(directory: Path) -> FakeAccount:
    """The account as last written; empty if there is none.

    Raise OSError if the file cannot be read, ValueError if it is not an account.
    """
    try:
        text = (directory / ACCOUNT_FILE).read_bytes()
    except FileNotFoundError:
        return FakeAccount()
    return decode_account(text)


def decode_account(text: bytes) -> FakeAccount:
    """Raise ValueError if the text is not an account that we can read."""
    try:
        document = json.loads(text)
        if document["version"] != ACCOUNT_VERSION:
            raise ValueError(f"account version {document['version']} is not ours")
        return FakeAccount(
            devices={
                device_id: FakeDeviceState(
                    total_bytes=device["total_bytes"],
                    foreign_bytes=device["foreign_bytes"],
                    fault=None if device["fault"] is None else Fault(device["fault"]),
                )
                for device_id, device in document["devices"].items()
            },
            claims=tuple(
                Claim(
                    pid=claim["pid"],
                    started=claim["started"],
                    bytes_by_device=claim["bytes"],
                    gone_s=claim["gone_s"],
                )
                for claim in document["claims"]
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an account of fake devices: {error!r}") from error


def encode_account(account: FakeAccount) -> bytes:
    document = {
        "version": ACCOUNT_VERSION,
        "devices": {
            device_id: {
                "total_bytes": device.total_bytes,
                "foreign_bytes": device.foreign_bytes,
                "fault": device.fault,
            }
            for device_id, device in account.devices.items()
        },
        "claims": [
            {
                "pid": claim.pid,
                "started": claim.started,
                "bytes": dict(claim.bytes_by_device),
                "gone_s": claim.gone_s,
            }
            for claim in account.claims
        ],
    }
    return json.dumps(document).encode()


def write_account(directory: Path, account: FakeAccount) -> None:
    """Replace the account. Call it only under `account_lock`."""
    draft = directory / f"{ACCOUNT_FILE}.draft"
    draft.write_bytes(encode_account(account))
    draft.replace(directory / ACCOUNT_FILE)


@contextmanager
def account_lock(directory: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the lock of the account. Raise AccountLocked if it cannot be had in time.

    The kernel lets go of it when its holder dies. With `wait_s` 0 it is tried once.
    """
    deadline_s = time.monotonic() + wait_s
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline_s:
                raise AccountLocked(f"{directory / LOCK_FILE} is held by a process that is stopped")
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Claims:
    """The claims of this process. A child that wants its own makes its own `Claims`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def claim(self, device_id: str, size_bytes: int) -> None:
        """Hold so many bytes of the device from now on, in place of what was held before.

        Zero gives them back. Raise ClaimRefused if the device does not have them (what was held
        before stays held), KeyError if there is no such device, ValueError below zero, OSError
        if the account cannot be written.
        """
        if size_bytes < 0:
            raise ValueError(f"a claim cannot be negative: {size_bytes}")
        with account_lock(self._directory):
            account = read_account(self._directory)
            ours = self._ours(account)
            missing_bytes = (
                account.held_bytes(device_id)
                - ours.on(device_id)
                + size_bytes
                - account.devices[device_id].total_bytes
            )
            # Giving back is always possible, on a device that others have overfilled too.
            if missing_bytes > 0 and size_bytes > ours.on(device_id):
                raise ClaimRefused(device_id, missing_bytes)
            others = tuple(claim for claim in account.claims if not _same(claim, ours))
            changed = replace(ours, bytes_by_device={**ours.bytes_by_device, device_id: size_bytes})
            write_account(self._directory, replace(account, claims=(*others, changed)))

    def _ours(self, account: FakeAccount) -> Claim:
        pid = os.getpid()
        started = process_started(pid)
        assert started is not None, "a process that runs has a start time"
        nothing = Claim(pid=pid, started=started, bytes_by_device={})
        return next((claim for claim in account.claims if _same(claim, nothing)), nothing)


def _same(one: Claim, other: Claim) -> bool:
    return one.pid == other.pid and one.started == other.started
