"""The processes of this machine, as /proc tells of them, and handles on single ones.

A pid alone is no identity: it is used again. Here a process is its pid and the tick at which it
started (which no clock adjustment moves), and is signalled through a pidfd that was opened before
the start was compared, so that a signal reaches that process or none. Needs Linux 5.4.
"""

import asyncio
import os
import select
import signal
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
STAT_BYTES_MAX = 4096  # some 350 in practice: 52 numbers and a name of 64 bytes at most
_ENDED_STATES = frozenset({b"Z", b"X"})
_KERNEL_THREAD = 0x00200000
# A program that becomes another one (exec) has no environment for a moment: microseconds, or as
# long as a busy machine or a cold disk makes of them.
EXEC_LOOK_S = 0.002
EXEC_S_MAX = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    pid: int
    started: int  # clock ticks since the machine booted
    parent: int
    group: int
    session: int
    kernel: bool  # a thread of the kernel's own
    ended: bool  # a zombie: it holds nothing any more, and waits for its parent to reap it


def boot_id() -> str:
    """Names this run of the machine: ticks and pids mean nothing in another one."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def read_process(pid: int) -> Process | None:
    """None if there is no such process. Raise OSError if the kernel does not tell."""
    fields = _stat_fields(pid)
    if fields is None:
        return None
    return Process(
        pid=pid,
        started=int(fields[19]),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        kernel=bool(int(fields[6]) & _KERNEL_THREAD),
        # A first thread that ended is shown as a zombie while the other threads work on.
        ended=fields[0] in _ENDED_STATES and int(fields[17]) <= 1,
    )


def _stat_fields(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the third on, which is the state."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb", buffering=0) as stat:  # noqa: PTH123 - many a second
            text = stat.read(STAT_BYTES_MAX)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The program's name may hold spaces and brackets; what follows the last one is numbers.
    return text.rpartition(b")")[2].split()


def read_table() -> Mapping[int, Process]:
    """Every program that runs now. One that starts or ends meanwhile may be missing."""
    pids = (int(name) for name in os.listdir(PROC) if name.isdigit())  # noqa: PTH208 - as above
    table = {}
    for pid in pids:
        process = read_process(pid)
        if process is not None and not process.kernel:
            table[pid] = process
    return table


@dataclass(frozen=True, slots=True)
class ProcessTree:
    """Which process came from which, sorted once for any number of questions."""

    children: Mapping[int, Sequence[int]]  # by parent
    members: Mapping[int, Sequence[int]]  # by leader, of a session or of a group

    @classmethod
    def of(cls, table: Mapping[int, Process]) -> "ProcessTree":
        children: defaultdict[int, list[int]] = defaultdict(list)
        members: defaultdict[int, list[int]] = defaultdict(list)
        for process in table.values():
            children[process.parent].append(process.pid)
            for leader in {process.session, process.group}:
                members[leader].append(process.pid)
        return cls(dict(children), dict(members))

    def descendants(self, root: int) -> frozenset[int]:
        """Children of `root`, their children, and so on."""
        found: set[int] = set()
        frontier = [root]
        while frontier:
            new = [pid for pid in self.children.get(frontier.pop(), ()) if pid not in found]
            found.update(new)
            frontier.extend(new)
        return frozenset(found)

    def attached(self, leader: int) -> frozenset[int]:
        """Descendants of the leader and members of its session."""
        return self.descendants(leader) | frozenset(self.members.get(leader, ()))


def seniority(process: Process) -> tuple[bool, int, int]:
    """Sorts the server before its descendants, and if it has ended, the oldest process first.

    The server leads its session; ticks are coarse and pids begin anew, so neither tells alone.
    """
    return (process.session != process.pid, process.started, process.pid)


def ancestors(table: Mapping[int, Process], pid: int) -> frozenset[int]:
    """The process itself, its parent, and so on to the first process of all."""
    found: set[int] = set()
    while pid in table and pid not in found:
        found.add(pid)
        pid = table[pid].parent
    return frozenset(found)


def marked(
    table: Mapping[int, Process],
    names: Sequence[str],
    *,
    since: int = 0,
    reapers: Collection[int] | None = None,
) -> Mapping[int, tuple[str, ...]]:
    """Processes of our own user that were given all these variables, with the values.

    Only what was there when the program started is seen, and nothing if it has overwritten it.
    Blocks for milliseconds, and for `EXEC_S_MAX` at most while a program becomes another one: call
    it in a thread.

    Where the variables are one server's, only processes that started `since` it did can have them;
    and `reapers` are its ancestors, the only ones beside its own processes that can be the parent
    of one: a program with another parent is not waited for. None: all are.
    """
    found: dict[int, tuple[str, ...]] = {}
    could = [one.pid for one in table.values() if not one.ended and one.started >= since]
    strange: set[int] = set()  # were not given them
    pids, least = could, f"{names[0]}=".encode()
    deadline_s = time.monotonic() + EXEC_S_MAX
    while True:
        blocks = _environments(pids)
        for pid, block in blocks.items():
            variables = _environment(block) if least in block else {}
            values = tuple(variables[name] for name in names if name in variables)
            if len(values) == len(names):
                found[pid] = values
            elif block:
                strange.add(pid)
        pids = [pid for pid, block in blocks.items() if not block and not _given_nothing(pid)]
        if reapers is not None:
            others = strange.union(pid for pid, one in table.items() if one.started < since)
            pids = [pid for pid in pids if table[pid].parent not in others.difference(reapers)]
        if not pids or time.monotonic() >= deadline_s:
            return found
        time.sleep(EXEC_LOOK_S)


def _environments(pids: Iterable[int]) -> Mapping[int, bytes]:
    own = os.getuid()
    blocks = {}
    for pid in pids:
        with suppress(OSError):  # it ended meanwhile, or is not ours to look into
            if os.stat(f"{PROC}/{pid}").st_uid == own:  # noqa: PTH116 - of hundreds, as above
                with open(f"{PROC}/{pid}/environ", "rb", buffering=0) as environ:  # noqa: PTH123
                    blocks[pid] = environ.readall()
    return blocks


def _given_nothing(pid: int) -> bool:
    """Whether a program has no environment, or has ended. False while it becomes another one."""
    fields = _stat_fields(pid)
    if fields is None or fields[0] in _ENDED_STATES:
        return True
    begins, ends = fields[47:49]  # where the kernel put the environment: at 0 during an exec
    return begins == ends != b"0"


def _environment(block: bytes) -> Mapping[str, str]:
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def out_of_memory_kills() -> int | None:
    """How often the kernel has killed for want of host memory since boot; None: it does not say."""
    try:
        lines = (PROC / "vmstat").read_text().splitlines()
    except OSError:
        return None
    counts = (line.split() for line in lines)
    return next((int(count) for name, count in counts if name == "oom_kill"), None)


class PidHandle:
    """One process, held by a pidfd. Close it."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.descriptor = descriptor

    @classmethod
    def take(cls, pid: int, started: int) -> "PidHandle | None":
        """None if that process has ended. Raise OSError if the kernel gives no pidfd."""
        pid_handle = cls.take_child(pid)
        if pid_handle is None:
            return None
        # Read after the pidfd was opened: if it is the same process now, it was the same then.
        try:
            process = read_process(pid)
        except OSError:
            pid_handle.close()
            raise
        if process is None or process.started != started or process.ended:
            pid_handle.close()
            return None
        return pid_handle

    @classmethod
    def take_child(cls, pid: int) -> "PidHandle | None":
        """For a child of ours that is not reaped: its pid cannot be another process's."""
        try:
            return cls(pid, os.pidfd_open(pid))
        except ProcessLookupError:
            return None

    def send(self, number: signal.Signals) -> None:
        """An ended process is no error. Raise PermissionError if it belongs to another user."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, number)

    @property
    def ended(self) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def reap(self) -> int | None:
        """The exit code of an ended child, -N after signal N; None if it was no child of ours."""
        try:
            how = os.waitid(os.P_PIDFD, self.descriptor, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None
        if how is None:
            return None
        return how.si_status if how.si_code == os.CLD_EXITED else -how.si_status

    def close(self) -> None:
        os.close(self.descriptor)


@contextmanager
def pid_handles(processes: Iterable[Process]) -> Iterator[list[PidHandle]]:
    """For every process that still runs. Raise OSError if the kernel refuses one pidfd."""
    held: list[PidHandle] = []
    try:
        for process in processes:
            pid_handle = PidHandle.take(process.pid, process.started)
            if pid_handle is not None:
                held.append(pid_handle)
        yield held
    finally:
        for pid_handle in held:
            pid_handle.close()


async def wait_until_ended(held: Sequence[PidHandle], timeout_s: float) -> bool:
    """Whether all of them ended in time."""
    if not held:
        return True
    loop = asyncio.get_running_loop()
    endings = [loop.create_future() for _ in held]

    def note(pid_handle: PidHandle, ending: asyncio.Future[None]) -> None:
        loop.remove_reader(pid_handle.descriptor)
        ending.set_result(None)

    for pid_handle, ending in zip(held, endings, strict=True):
        loop.add_reader(pid_handle.descriptor, note, pid_handle, ending)
    try:
        _, waiting = await asyncio.wait(endings, timeout=timeout_s)
        return not waiting
    finally:
        for pid_handle in held:
            loop.remove_reader(pid_handle.descriptor)
