"""The files of the audit log, and writing to them: blocking, for a thread of its own.

Several processes of one operator may write: the daemon, and the command line on its state
directory. Each takes the file's lock and goes on after what others have written meanwhile.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.access.audit.chain import (
    CURRENT,
    BrokenChain,
    follow,
    rotated_files,
    rotated_name,
    tail_of,
)
from orchestrator.access.audit.lines import NOTHING_YET, Act, ActOutcome, Head, encode
from orchestrator.access.caller import THE_DAEMON

REPAIRED, DAMAGED, CONTINUED = "audit.repaired", "audit.damaged", "audit.continued"


@dataclass(frozen=True, slots=True)
class Dated:
    """What is to be written, and when it happened."""

    at: str
    act: Act


def dated(act: Act, now: datetime | None = None) -> Dated:
    """Now, unless it is said when."""
    at = (now or datetime.now(UTC)).isoformat(timespec="milliseconds")
    return Dated(at.replace("+00:00", "Z"), act)


class AuditFile:
    """Every method may raise OSError: nothing of the call is in the file then."""

    def __init__(self, folder: Path, *, bytes_max: int, files_max: int) -> None:
        """`files_max`, 2 at least, counts the one that is written."""
        self._folder = folder
        self._path = folder / CURRENT
        self._bytes_max = bytes_max
        self._files_max = files_max
        self._descriptor: int | None = None
        self._size = 0
        self._owed: list[Act] = []  # what was found, to be said with the next line
        self.head = NOTHING_YET

    def write(self, acts: Sequence[Dated], *, sync: bool) -> list[Head]:
        """The head after each of them. With `sync` they are on the disk when this returns."""
        if not acts:
            return []
        while True:
            with self._locked():
                if self._size < self._bytes_max:
                    owed = [Dated(acts[0].at, act) for act in self._owed]
                    heads = self._append([*owed, *acts], sync=sync)
                    self._owed.clear()
                    return heads[len(owed) :]
                self._rotate()

    def sync(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Closing twice is not an error."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """On the file that is the current one, read up to its end."""
        while True:
            descriptor = self._opened()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._is_current(descriptor):
                break
            self.close()  # and so its lock is given back: another process has rotated it
        try:
            self._catch_up(descriptor)
            yield
        finally:
            if self._descriptor is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _opened(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            if os.geteuid() == 0:  # the command line of root: the daemon's user goes on writing
                owner = self._folder.stat()
                os.fchown(self._descriptor, owner.st_uid, owner.st_gid)
            self._size = -1  # not read yet
        return self._descriptor

    def _is_current(self, descriptor: int) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        return False

    def _catch_up(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size == self._size:
            return
        if 0 <= self._size < size and self._follows(os.pread(descriptor, size, self._size)):
            self._size = size
            return
        self._read_end(descriptor, known=self._size >= 0)

    def _follows(self, raw: bytes) -> bool:
        """Whether others have written lines that follow ours."""
        head = self.head
        if not raw.endswith(b"\n"):
            return False
        try:
            for line in raw[:-1].split(b"\n"):
                head = follow(line, head, (self._path, 0))
        except BrokenChain:
            return False
        self.head = head
        return True

    def _read_end(self, descriptor: int, *, known: bool) -> None:
        """Go on from what is there; say what is not as a log of ours ends."""
        tail = tail_of(descriptor)
        if tail.torn_bytes:
            os.ftruncate(descriptor, tail.bytes)
            self._owe(REPAIRED, torn_bytes=tail.torn_bytes)
        if not tail.readable or known:
            self._owe(DAMAGED, last_known=self.head.seq)
        self._size = tail.bytes
        if tail.head is not None:
            self.head = tail.head
        elif not known:
            self._begin()

    def _owe(self, action: str, **numbers: int) -> None:
        act = Act(action=action, caller=THE_DAEMON, outcome=ActOutcome.FAILED, numbers=numbers)
        if all(owed.action != action for owed in self._owed):
            self._owed.append(act)

    def _begin(self) -> None:
        """A new file: its first line names the last one of the file before."""
        before = rotated_files(self._folder)
        if not before:
            return
        descriptor = os.open(before[-1], os.O_RDONLY | os.O_CLOEXEC)
        try:
            tail = tail_of(descriptor)
        finally:
            os.close(descriptor)
        self.head = tail.head or self.head
        self._owed.insert(0, Act(action=CONTINUED, caller=THE_DAEMON, target=before[-1].name))

    def _rotate(self) -> None:
        """By a rename: what is being read stays whole, and no line is in two files."""
        assert self._descriptor is not None
        os.fsync(self._descriptor)
        self._path.rename(self._path.with_name(rotated_name(self.head)))
        for old in rotated_files(self._folder)[: 1 - self._files_max]:
            old.unlink()
        self.close()
        self._sync_folder()

    def _append(self, acts: Sequence[Dated], *, sync: bool) -> list[Head]:
        assert self._descriptor is not None
        head, heads, lines = self.head, [], bytearray()
        for dated in acts:
            raw, head = encode(dated.act, at=dated.at, after=head)
            heads.append(head)
            lines += raw + b"\n"
        try:
            left = memoryview(bytes(lines))
            while left:
                left = left[os.write(self._descriptor, left) :]
            if sync:
                os.fsync(self._descriptor)
        except OSError:
            self._take_back(self._descriptor)
            raise
        if self._size == 0 and sync:
            self._sync_folder()
        self._size += len(lines)
        self.head = head
        return heads

    def _take_back(self, descriptor: int) -> None:
        """What of the lines is in the file goes; where it cannot, the next opening repairs it."""
        try:
            os.ftruncate(descriptor, self._size)
        except OSError:
            self.close()

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
