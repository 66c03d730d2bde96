"""Why a process could not be started: which reason it is (R9), and what an operator can do."""

import errno

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.ports import Launch
from orchestrator.runtimes.process.handle import HOST


def not_started(launch: Launch, error: OSError | ValueError | IndexError) -> Failure:
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


def unwritable_key(launch: Launch, error: OSError) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"The key of {launch.model} cannot be written: {error}.",
        remedy="Make room on the disk of state_dir, or make it writable for this user.",
    )


def cannot_be_watched(launch: Launch, why: str) -> Failure:
    return Failure(
        reason=FailureReason.RUNTIME_UNAVAILABLE,
        detail=f"{launch.model} was started but cannot be watched, so it was ended: {why}.",
        remedy="Raise the limit of open files; pidfds need Linux 5.4 and no filter against them.",
    )
