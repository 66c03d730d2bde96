"""What an operator may write for a model on a hub, and which of a repository's files it means.

NAME                        one of the names below
ORG/REPO                    its only model, else the Q4_K_M one
ORG/REPO:Q4_K_M             the model of that quantization
ORG/REPO:path/to/file.gguf  that file; of a split model the first part, or any
ORG/REPO@REVISION[:…]       a branch, a tag or a commit other than main
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.hub.failures import Cause, PullFailed

QUANTIZATION_DEFAULT = "Q4_K_M"  # what the GGUF world offers first: nearly all repositories have it
NAMES: Mapping[str, str] = {
    "llama-3.2-3b": "unsloth/Llama-3.2-3B-Instruct-GGUF:Llama-3.2-3B-Instruct-Q4_K_M.gguf",
    "phi-4": "unsloth/phi-4-GGUF:phi-4-Q4_K_M.gguf",
    "qwen2.5-coder-7b": (
        "Qwen/Qwen2.5-Coder-7B-Instruct-GGUF:qwen2.5-coder-7b-instruct-q4_k_m.gguf"
    ),
    "qwen3-0.6b": "Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf",
    "qwen3-vl-30b": (
        "unsloth/Qwen3-VL-30B-A3B-Instruct-GGUF:Qwen3-VL-30B-A3B-Instruct-Q4_K_M.gguf"
    ),
    "tinyllama-1.1b": (
        "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF:tinyllama-1.1b-chat-v1.0.Q5_K_S.gguf"
    ),
}

_PART = r"[A-Za-z0-9][\w.-]*"
_REFERENCE = re.compile(rf"({_PART}/{_PART})(?:@({_PART}(?:/{_PART})*))?(?::(.+))?", re.ASCII)
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_PROJECTOR = re.compile(r"(^|[-_.])mmproj([-_.]|$)", re.IGNORECASE)
_PROJECTORS_BEST_FIRST = ("f16", "bf16", "q8_0")  # F32 gains nothing and costs twice the VRAM
LISTED_MAX = 12  # file names in one sentence; a repository may have a hundred


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    repo: str
    revision: str = "main"
    file: str | None = None  # a path that ends in .gguf, or a quantization; None: see above


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Paths inside the repository: the parts in their order, and the projector if it has one."""

    parts: tuple[str, ...]
    projector: str | None

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.parts, *(() if self.projector is None else (self.projector,)))


def parse(text: str) -> Reference:
    """Raise PullFailed if it is none of the forms above."""
    match = _REFERENCE.fullmatch(NAMES.get(text, text))
    if match is None or ".." in text:
        raise PullFailed(Cause.INVALID, f"{text!r} is not a model on a hub.", _forms(text))
    repo, revision, file = match.groups()
    if file is not None and not is_inside(file):
        raise PullFailed(Cause.INVALID, f"{file!r} is not a file of {repo}.", _forms(text))
    return Reference(repo=repo, revision=revision or "main", file=file)


def is_inside(path: str) -> bool:
    """True if a path that came from outside stays below the folder it is joined to."""
    parts = path.split("/")
    return all(
        part not in ("", ".", "..") and "\\" not in part and part.isprintable() for part in parts
    )


def is_projector(path: str) -> bool:
    return _PROJECTOR.search(path.rsplit("/", 1)[-1]) is not None


def choose(reference: Reference, paths: Sequence[str]) -> Chosen:
    """Raise PullFailed if the repository has nothing, or several things, that it could mean."""
    ggufs = sorted(path for path in paths if path.endswith(".gguf"))
    models = sorted({_first_part(path) for path in ggufs if not is_projector(path)})
    first = _model(reference, models, ggufs)
    parts = _parts(first)
    if missing := [part for part in parts if part not in ggufs]:
        raise PullFailed(
            Cause.NOT_FOUND,
            f"{reference.repo} lacks {', '.join(missing[:LISTED_MAX])}, a part of {first}.",
            "Choose another file of the repository, or another repository.",
        )
    projectors = [path for path in ggufs if is_projector(path) and path not in parts]
    return Chosen(parts=parts, projector=min(projectors, key=_projector_rank, default=None))


def models_of(paths: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Every model among the files, by its first part, with all parts: without projectors, and
    without those that lack a part.
    """
    ggufs = {path for path in paths if path.endswith(".gguf") and not is_projector(path)}
    found = {first: _parts(first) for first in sorted({_first_part(path) for path in ggufs})}
    return {first: parts for first, parts in found.items() if ggufs.issuperset(parts)}


def _model(reference: Reference, models: list[str], ggufs: list[str]) -> str:
    wanted = reference.file
    if wanted is not None and wanted.endswith(".gguf"):
        if wanted in ggufs:
            return _first_part(wanted)
        raise _none(reference, models, f"has no file {wanted}")
    if wanted is None and len(models) == 1:
        return models[0]
    quantization = wanted or QUANTIZATION_DEFAULT
    delimited = re.compile(rf"(^|[-_./]){re.escape(quantization)}([-_./]|$)", re.IGNORECASE)
    found = [path for path in models if delimited.search(path.removesuffix(".gguf"))]
    if len(found) == 1:
        return found[0]
    if found:
        raise _none(reference, found, f"has {len(found)} models that are {quantization}")
    raise _none(reference, models, f"has no model that is {quantization}")


def _none(reference: Reference, models: list[str], claim: str) -> PullFailed:
    listed = ", ".join(models[:LISTED_MAX]) + (", …" if len(models) > LISTED_MAX else "")
    remedy = (
        f"Name one of its files, as {reference.repo}:FILE. It has {listed}."
        if models
        else "It holds no GGUF: look for a repository whose name ends in -GGUF."
    )
    return PullFailed(Cause.NOT_FOUND, f"{reference.repo} {claim}.", remedy)


def _first_part(path: str) -> str:
    match = _SPLIT.fullmatch(path)
    return path if match is None else f"{match[1]}-00001-of-{match[3]}.gguf"


def _parts(first: str) -> tuple[str, ...]:
    match = _SPLIT.fullmatch(first)
    if match is None:
        return (first,)
    count = int(match[3])
    return tuple(f"{match[1]}-{part:05}-of-{match[3]}.gguf" for part in range(1, count + 1))


def _projector_rank(path: str) -> tuple[int, str]:
    words = re.split(r"[-.]", path.lower())
    ranks = (rank for rank, kind in enumerate(_PROJECTORS_BEST_FIRST) if kind in words)
    return (next(ranks, len(_PROJECTORS_BEST_FIRST)), path)


def _forms(text: str) -> str:
    near = difflib.get_close_matches(text.lower(), NAMES, n=1)
    meant = f"Did you mean {near[0]}? " if near else ""
    return f"{meant}Write ORG/REPO, ORG/REPO:FILE, or one of {', '.join(sorted(NAMES))}."
