"""Starts one model server as a process: with our marks, in a session of its own, scrubbed.

The child is recognised by variables in its environment, writes to its log by itself and has no
file of ours open, so it runs on however this daemon ends.
"""

import os
import resource
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.core.values.vram import is_cuda
from orchestrator.errors import StartFailed
from orchestrator.ports import HOST_TOKEN, KEY_FILE_TOKEN, PORT_TOKEN, Launch
from orchestrator.runtimes.process.failures import cannot_be_watched, not_started
from orchestrator.runtimes.process.handle import HOST
from orchestrator.runtimes.process.table import PidHandle, Process, read_process

MARK_INSTANCE = "VRAM_ORCHESTRATOR_INSTANCE"
MARK_MODEL = "VRAM_ORCHESTRATOR_MODEL"
MARK_IDENTITY = "VRAM_ORCHESTRATOR_IDENTITY"
MARK_PORT = "VRAM_ORCHESTRATOR_PORT"

# What a server inherits. Anything else could change how it runs (LLAMA_ARG_*) or is not its
# business (API keys); which GPUs it sees is for its own launch to say.
INHERITED = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "CUDA_CACHE_PATH", "CUDA_CACHE_MAXSIZE"),
    }
)


class _Child(subprocess.Popen[bytes]):
    """A child that runs on when the daemon ends."""

    def __del__(self) -> None:
        """No warning that it still runs: that is wanted, and its end is seen by its pidfd."""


def child_environment(
    launch: Launch, port: int, inherited: Mapping[str, str], identity: str
) -> dict[str, str]:
    gpus = [device for device in launch.devices if is_cuda(device)]
    # A server that is placed on the host must not open a CUDA context: it costs VRAM.
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if launch.devices else {}
    return {
        **{name: value for name, value in inherited.items() if name in INHERITED},
        **visible,
        **launch.env,
        MARK_INSTANCE: launch.instance,
        MARK_MODEL: launch.model,
        MARK_IDENTITY: identity,
        MARK_PORT: str(port),
    }


def spawn(
    launch: Launch,
    port: int,
    *,
    log: int,
    env: Mapping[str, str],
    descriptors: int | None = None,
    key_file: Path | None = None,
) -> tuple[Process, PidHandle]:
    """Return once the program runs. Raise StartFailed, leaving nothing behind.

    `descriptors` is its limit of open files, in force within its first millisecond; None: ours.
    """
    tokens = {PORT_TOKEN: str(port), HOST_TOKEN: HOST, KEY_FILE_TOKEN: str(key_file)}
    try:
        child = _Child(
            [_filled(argument, tokens) for argument in launch.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        raise StartFailed(not_started(launch, error)) from error
    if descriptors is not None:
        _limit(child.pid, descriptors)
    try:
        # It is not reaped yet, so the pid is its own even if it has ended already.
        process, pid_handle = read_process(child.pid), PidHandle.take_child(child.pid)
    except OSError as error:
        _abandon(child.pid)
        raise StartFailed(cannot_be_watched(launch, str(error))) from error
    if process is None or pid_handle is None:
        raise StartFailed(cannot_be_watched(launch, "somebody else has reaped it"))
    return process, pid_handle


def _filled(argument: str, tokens: Mapping[str, str]) -> str:
    for token, value in tokens.items():
        argument = argument.replace(token, value)
    return argument


def _limit(pid: int, descriptors: int) -> None:
    with suppress(OSError):  # it has ended, or is another user's by now: it keeps ours
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, hard))


def _abandon(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # our own child, not reaped: the number is its own
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
