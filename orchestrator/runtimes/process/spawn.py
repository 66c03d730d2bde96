"""Starts one model server as a process: with our marks, in a session of its own, scrubbed.

The child is told apart by variables in its environment, writes to its log by itself and has
nothing of ours open, so that it runs on when this daemon ends, in whatever way.
"""

import errno
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.vram import is_cuda
from orchestrator.errors import StartFailed
from orchestrator.ports import HOST_TOKEN, PORT_TOKEN, Launch
from orchestrator.runtimes.process.table import Grip, Process, read_process

HOST = "127.0.0.1"
MARK_INSTANCE = "VRAM_ORCHESTRATOR_INSTANCE"
MARK_MODEL = "VRAM_ORCHESTRATOR_MODEL"
MARK_IDENTITY = "VRAM_ORCHESTRATOR_IDENTITY"
MARK_PORT = "VRAM_ORCHESTRATOR_PORT"

# What a server inherits. Anything else could change how it runs (LLAMA_ARG_*) or is not its
# business (API keys); which GPUs it sees is for its own launch to say.
INHERITED = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "CUDA_HOME",
        "CUDA_PATH",
        "CUDA_CACHE_PATH",
        "CUDA_CACHE_MAXSIZE",
    }
)


class _Child(subprocess.Popen[bytes]):
    """A child that we do not take with us, and do not complain about, when we leave."""

    def __del__(self) -> None:
        """Its end is seen through its pidfd; the inherited warning would be wrong."""


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


def spawn(launch: Launch, port: int, *, log: int, env: Mapping[str, str]) -> tuple[Process, Grip]:
    """Return once the program runs. Raise StartFailed, leaving nothing behind."""
    try:
        child = _Child(
            [a.replace(PORT_TOKEN, str(port)).replace(HOST_TOKEN, HOST) for a in launch.argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
        )
    except (OSError, ValueError, IndexError) as error:
        raise StartFailed(_not_started(launch, error)) from error
    try:
        # Nobody has reaped it yet, so the pid is its own even if it has ended already.
        process, grip = read_process(child.pid), Grip.take_child(child.pid)
    except OSError as error:
        _abandon(child.pid)
        raise StartFailed(_no_grip(launch, str(error))) from error
    if process is None or grip is None:
        raise StartFailed(_no_grip(launch, "somebody else has reaped it"))
    return process, grip


def _abandon(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # our own child, not reaped: the number is its own
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _not_started(launch: Launch, error: OSError | ValueError | IndexError) -> Failure:
    program = launch.argv[0] if launch.argv else "(nothing)"
    if not isinstance(error, OSError) or error.errno == errno.E2BIG:
        return Failure(
            reason=FailureReason.ARGUMENTS,
            detail=f"{program} cannot be started with these arguments: {error}.",
            remedy="Look for odd characters or very long values in the model's settings.",
        )
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            detail = f"The program {program} does not exist, or its interpreter does not."
            remedy = "Install it, or say where it is in the service's settings."
        case errno.EACCES | errno.EPERM:
            detail = f"The program {program} may not be executed by this user."
            remedy = f"chmod +x {program}, or choose another program in the service's settings."
        case errno.ENOEXEC:
            detail = f"{program} is not a program for this machine."
            remedy = "Install a build for this processor, or choose another program."
        case _:
            return Failure(
                reason=FailureReason.RUNTIME_UNAVAILABLE,
                detail=f"{program} could not be started: {error}.",
                remedy="Look at the limits of processes, open files and host RAM.",
            )
    return Failure(reason=FailureReason.BINARY_MISSING, detail=detail, remedy=remedy)


def no_port(launch: Launch, error: OSError | None) -> Failure:
    why = "none is free" if error is None else str(error)
    return Failure(
        reason=FailureReason.PORT,
        detail=f"There is no port on {HOST} for {launch.model}: {why}.",
        remedy="Look at net.ipv4.ip_local_port_range and at who holds so many ports.",
    )


def unwritable_log(launch: Launch, error: OSError) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"The log of {launch.model} cannot be written: {error}.",
        remedy="Make room on the disk of state_dir, or make it writable for this user.",
    )


def _no_grip(launch: Launch, why: str) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"{launch.model} was started but cannot be watched, so it was ended: {why}.",
        remedy="Raise the limit of open files; pidfds need Linux 5.4 and no filter against them.",
    )
