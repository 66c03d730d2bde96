"""What is wrong with a model's files, found before any model is evicted for it.

Blocking reads of a few bytes: call it from a thread.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.specs import ModelSpec

GGUF_MAGIC = b"GGUF"
GGUF_VERSIONS = (2, 3)  # version 1 was a month old when it was replaced; servers refuse it

# Says in words what is wrong with a file, or None. Launchers may be given one that reads more.
FileProblem = Callable[[Path], str | None]


def gguf_problem(path: Path) -> str | None:
    """What keeps the file from being a GGUF at first sight. Raise OSError if it is unreadable."""
    with path.open("rb") as file:
        head = file.read(8)
    if len(head) < 8:
        return f"it is {len(head)} bytes long, which holds no model"
    magic, version = struct.unpack("<4sI", head)
    if magic != GGUF_MAGIC:
        return "it does not begin with GGUF, so it is something else"
    if version not in GGUF_VERSIONS:
        return f"it is GGUF version {version}; servers read {' and '.join(map(str, GGUF_VERSIONS))}"
    return None


def broken_file(spec: ModelSpec, problem: FileProblem = gguf_problem) -> Failure | None:
    """The first of the spec's files that cannot work, in words; None if all may."""
    if spec.file is None:
        return _failure(
            f"{spec.name} names no model file", "Add file: with the path of a GGUF to the model."
        )
    for role, name in _files(spec):
        words = _problem(Path(name), problem)
        if words is not None:
            return _failure(
                f"The {role} of {spec.name}, {name}, cannot be used: {words}",
                "Download the file again or correct its path in the configuration.",
            )
    return None


def _files(spec: ModelSpec) -> Iterator[tuple[str, str]]:
    if spec.file is not None:
        yield "model file", spec.file
    if spec.mmproj is not None:
        yield "projector file (mmproj)", spec.mmproj
    for adapter in spec.lora:
        yield "LoRA adapter", adapter


def _problem(path: Path, problem: FileProblem) -> str | None:
    try:
        if path.is_dir():
            return "it is a directory"
        return problem(path)
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        return f"it cannot be read ({getattr(error, 'strerror', None) or error})"


def _failure(detail: str, remedy: str) -> Failure:
    return Failure(reason=FailureReason.MODEL_FILE, detail=f"{detail}.", remedy=remedy)
