"""Why a llama.cpp server ended, read from its exit and the last lines of its log (R9).

The texts are those of real servers given broken inputs. Order matters: a server that runs out of
memory also says that it failed to load the model, and one that cannot read a file also says that
it cannot make a context.
"""

import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.core.values.failures import Failure, FailureReason, ShortOf
from orchestrator.core.values.vram import MiB
from orchestrator.ports import Exit

DETAIL_CHARS_MAX = 300  # of a log line inside a sentence; the whole line is in the tail

# "0.00.012.737 E srv  load_model: ..." and older: "srv  load_model: ..."
_STAMP = re.compile(r"^[\d.]+ [A-Z] +(?:\w+ +)?")
_ASKED = re.compile(
    r"failed to allocate (?:\S+ )?buffer of size (\d+)|memory allocation of size (\d+) failed",
    re.IGNORECASE,
)
_ASKED_MIB = re.compile(r"allocating ([\d.]+) MiB on device \S+ cudaMalloc failed")
# The weights come first: how much of them was missing, the log does not say.
_WEIGHTS = re.compile(r"unable to allocate \S+ buffer|error loading model: .*bad_alloc")
# What there was no memory for, the first cause first: a lack also fails all that comes after it.
_READY = re.compile(r"(?<!CLIP )\bmodel loaded|starting the main loop|all slots are idle")
_LACKS = (
    (ShortOf.PROJECTOR, re.compile(r"\b(clip|mtmd)\w*\b.*(alloc|out of memory)|mmproj.*memory")),
    (ShortOf.WEIGHTS, _WEIGHTS),
    (ShortOf.CONTEXT, re.compile(r"(kv cache|memory module|recurrent|rs cache)", re.IGNORECASE)),
    (
        ShortOf.COMPUTE,
        re.compile(r"compute (\w+ )?buffers?|gallocr_reserve|graph_reserve", re.IGNORECASE),
    ),
)
_LACKED: Mapping[ShortOf, str] = {
    ShortOf.PROJECTOR: " for its projector",
    ShortOf.WEIGHTS: " for its weights",
    ShortOf.CONTEXT: " for its context",
    ShortOf.COMPUTE: " for its compute buffers",
    ShortOf.RUN_TIME: " while it served",
}


@dataclass(frozen=True, slots=True)
class _Sign:
    """A pattern of log lines, and the reason that they give."""

    line: re.Pattern[str]
    reason: FailureReason
    says: str  # the beginning of the sentence; the line itself follows
    remedy: str


def _sign(line: str, reason: FailureReason, says: str, remedy: str) -> _Sign:
    return _Sign(re.compile(line, re.IGNORECASE), reason, says, remedy)


_OUT_OF_MEMORY = _sign(
    r"out of memory|std::bad_alloc|insufficient memory|unable to allocate \S+ buffer"
    r"|failed to allocate .*(buffer|compute|kv cache|memory)|memory allocation of size"
    r"|ErrorOutOfDeviceMemory|Cannot allocate memory",
    FailureReason.OUT_OF_MEMORY,
    "The server ran out of memory",
    "Use a smaller context_size, fewer slots, a smaller cache type or fewer gpu_layers,"
    " or make room on the device.",
)

_SIGNS = (
    _OUT_OF_MEMORY,
    _sign(
        r"^error: (invalid argument|unknown|unrecognized)|error while handling argument"
        r"|error: (argument|the following arguments|unrecognized arguments)",
        FailureReason.ARGUMENTS,
        "The server does not accept how it was started",
        "Check the model's serving settings against the installed version of the server.",
    ),
    _sign(
        r"couldn't bind|address already in use",
        FailureReason.PORT,
        "The server could not listen on its port",
        "Something else took the port; the next start gets another one.",
    ),
    _sign(
        r"error while loading shared libraries|No module named|ImportError|no kernel image",
        FailureReason.BINARY_MISSING,
        "The server is not installed completely",
        "Install the server again, built for this machine and its driver.",
    ),
    _sign(
        r"failed to load CLIP model|failed to load multimodal model",
        FailureReason.MODEL_FILE,
        "The projector file (mmproj) cannot be used",
        "Check the mmproj file: it must be complete and belong to this model.",
    ),
    _sign(
        r"failed to load lora adapter|failed to apply lora",
        FailureReason.MODEL_FILE,
        "A LoRA adapter cannot be used",
        "Check the adapter file: it must be complete and made for this model.",
    ),
    _sign(
        r"gguf_init_from|not within the file bounds|error loading model|unknown model architecture"
        r"|failed to open GGUF|tensor .* (is missing|has wrong shape)",
        FailureReason.MODEL_FILE,
        "The model file cannot be loaded",
        "Check that the file is complete (compare its size with the source) and that the server is"
        " new enough for this model.",
    ),
)

# Where two lines match, the one that comes first in the log is nearest to the cause. These say
# least, although they may come first.
_VAGUE = re.compile(r"failed to load model|failed to get memory usage", re.IGNORECASE)


def classify(exit_: Exit, *, memory_mb: int | None = None) -> Failure:
    """Name the reason in one sentence, with what would help. Pure; never fails.

    Programs on CUDA and PyTorch run out of memory in much the same words as llama.cpp. `memory_mb`
    is the operator's limit of the container's host RAM: more room on the device would not help.
    """
    if exit_.out_of_memory and memory_mb is not None:
        return _host_limit_reached(exit_, memory_mb)
    for sign in _SIGNS:
        matching = [line for line in exit_.log_tail if sign.line.search(line)]
        if matching:
            telling = next((line for line in matching if not _VAGUE.search(line)), matching[0])
            lacked = _lacked(exit_.log_tail) if sign is _OUT_OF_MEMORY else None
            what_for = _LACKED[lacked] if lacked is not None else ""
            return Failure(
                reason=sign.reason,
                detail=f"{sign.says}{what_for}: {_words(telling)}",
                log_tail=exit_.log_tail,
                asked_bytes=_asked_last(exit_.log_tail) if sign is _OUT_OF_MEMORY else None,
                short_of=lacked,
                remedy=sign.remedy,
            )
    return _by_exit(exit_)


def _lacked(log_tail: tuple[str, ...]) -> ShortOf | None:
    """What the memory was for. A server that had been ready needed it to serve."""
    if any(_READY.search(line) for line in log_tail):
        return ShortOf.RUN_TIME
    for lacked, sign in _LACKS:
        if any(sign.search(line) for line in log_tail):
            return lacked
    return None


def _asked_last(log_tail: tuple[str, ...]) -> int | None:
    """The size of what could not be allocated on top of what already lay there.

    None where that was the weights: servers that ask for them piece by piece name all of them.
    """
    if any(_WEIGHTS.search(line) for line in log_tail):
        return None
    asked = list(_asked_bytes(log_tail))
    return (asked[-1] or None) if asked else None


def _asked_bytes(log_tail: tuple[str, ...]) -> Iterator[int]:
    for line in log_tail:
        if found := _ASKED.search(line):
            yield int(found[1] or found[2])
        elif found := _ASKED_MIB.search(line):
            yield int(float(found[1]) * MiB)


def _host_limit_reached(exit_: Exit, memory_mb: int) -> Failure:
    return Failure(
        reason=FailureReason.EXITED,
        detail=f"The container was killed at its limit of {memory_mb} MB of host RAM.",
        log_tail=exit_.log_tail,
        remedy="Raise memory_mb of the service, or give the model fewer slots or less context.",
    )


def _by_exit(exit_: Exit) -> Failure:
    ended_by = _signal_of(exit_.code)
    if exit_.out_of_memory:
        return Failure(
            reason=FailureReason.OUT_OF_MEMORY,
            detail="The server was killed because the host or its container ran out of memory.",
            log_tail=exit_.log_tail,
            remedy=_OUT_OF_MEMORY.remedy,
        )
    if ended_by == signal.SIGILL:
        return Failure(
            reason=FailureReason.BINARY_MISSING,
            detail="The server was built for another processor: it met an illegal instruction.",
            log_tail=exit_.log_tail,
            remedy="Use a build for this machine, or engine: xllamacpp, which runs on any x86-64.",
        )
    last = _last_word(exit_.log_tail)
    return Failure(
        reason=FailureReason.EXITED,
        detail=f"The server {_ending(exit_.code, ended_by)}; {last}.",
        log_tail=exit_.log_tail,
        remedy="Read the model's log; if it says nothing, start the server by hand.",
    )


def _signal_of(code: int | None) -> signal.Signals | None:
    """A process tells a signal as -n, a shell and Docker as 128 + n."""
    if code is None:
        return None
    number = -code if code < 0 else code - 128
    try:
        return signal.Signals(number) if number > 0 else None
    except ValueError:
        return None


def _ending(code: int | None, ended_by: signal.Signals | None) -> str:
    if ended_by is not None:
        return f"was ended by {ended_by.name}"
    return "ended" if code is None else f"ended by itself with exit code {code}"


def _last_word(log_tail: tuple[str, ...]) -> str:
    lines = [line for line in log_tail if line.strip()]
    telling = next((line for line in reversed(lines) if "error" in line.lower()), None)
    if telling is not None:
        return f"its log says: {_words(telling)}"
    return f"its last words: {_words(lines[-1])}" if lines else "its log is empty"


def _words(line: str) -> str:
    return _STAMP.sub("", line).strip().rstrip(".")[:DETAIL_CHARS_MAX]
