"""One daemon per state directory.

The kernel keeps the lock and gives it back when the holder ends, however it ends: there is no stale
lock to be removed after `kill -9`.
"""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Self

from orchestrator.errors import RegistryFailed

_PID_BYTES_MAX = 32  # what is read of the file; a process id has at most 7 digits


class StateLock:
    """Held from `take` to `release`. Processes that the holder starts do not inherit it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: Path) -> Self:
        """Raise RegistryFailed, naming the holder, if another process has it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as refused:
            raise RegistryFailed(
                f"the lock {path} cannot be opened: {refused.strerror}. The state directory must "
                "be writable for the orchestrator's user."
            ) from refused
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as refused:
            holder = os.read(descriptor, _PID_BYTES_MAX).decode("ascii", "replace").strip()
            os.close(descriptor)
            if not isinstance(refused, BlockingIOError):
                raise RegistryFailed(f"{path} cannot be locked: {refused.strerror}") from refused
            raise RegistryFailed(
                f"another orchestrator (process {holder or 'unknown'}) uses the state directory "
                f"{path.parent}. Stop it, or give this one a state_dir of its own."
            ) from refused
        # The lock holds without the number, which only names the holder to a second one: a full
        # disk must not keep the daemon from starting.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Releasing twice is not an error. The file stays: removing it would race the next one."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
