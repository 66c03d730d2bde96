"""From sets of files to models with names and projectors. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalogue.found.seen import PlaceKind
from orchestrator.catalogue.found.sets import FileSet
from orchestrator.config.models import NAME, RESERVED_NAMES
from orchestrator.gguf.header import Header

NAME_CHARS_MAX = 128

_UNNAMEABLE = re.compile(r"[^A-Za-z0-9._:@-]+", re.ASCII)
_QUANTIZATION = re.compile(
    r"(?:^|[-_.])(?:ud[-_])?"
    r"(?:i?q[1-8](?:_[a-z0-9]{1,2})*|tq[12]_0|b?f16|f32|fp16|mxfp4(?:_moe)?)(?=$|[-_.])"
)
_WORDS = re.compile(r"[^a-z0-9]+")
_SAY_NOTHING = frozenset({"mmproj", "model", "gguf", ""})
_BEST_FIRST = ("f16", "bf16", "q8_0")  # F32 gains nothing and costs twice the room

Key = tuple[str, ...]  # the words of a name that say which model it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """One model that was found."""

    name: str
    files: FileSet
    projector: Path | None = None

    @property
    def path(self) -> Path:
        return self.files.first.path


def finds(sets: Sequence[FileSet]) -> tuple[Find, ...]:
    """In the order of the sets, which is that of their places."""
    projectors = [each for each in sets if each.projects and each.problem is None]
    models = [each for each in sets if not each.ignored and each not in projectors]
    beside = _Beside(projectors, models)
    return tuple(
        Find(name=name, files=model, projector=model.first.projector or beside.of(model))
        for name, model in named(models).items()
    )


# --- names -----------------------------------------------------------------------------------


def named(models: Iterable[FileSet]) -> Mapping[str, FileSet]:
    """After their files. Of two of the same name the one nearer to the top of its place has it, the
    other is called after its folder as well.
    """
    given: dict[str, FileSet] = {}
    waiting: list[tuple[str, FileSet]] = []
    for model in sorted(models, key=lambda each: len(each.first.path.parts)):
        name = nameable(model.first.called or model.stem)
        if name in given:
            waiting.append((name, model))
        else:
            given[name] = model
    for name, model in waiting:
        folder = nameable(f"{model.first.path.parent.name}-{name}")
        choices = (folder, *(f"{name[: NAME_CHARS_MAX - 5]}-{n}" for n in range(2, 9999)))
        given[next(choice for choice in choices if choice not in given)] = model
    return given


def nameable(text: str) -> str:
    """As the catalogue takes it."""
    name = re.sub(r"\.{2,}", ".", _UNNAMEABLE.sub("-", text)).lstrip("._:@-")[:NAME_CHARS_MAX]
    if name in RESERVED_NAMES or not NAME.fullmatch(name):
        name = f"model-{name}"[:NAME_CHARS_MAX].rstrip("-")
    return name


# --- projectors ------------------------------------------------------------------------------


class _Beside:
    """The projectors in the folder of a model, or above it where a split model has one its own."""

    def __init__(self, projectors: Iterable[FileSet], models: Iterable[FileSet]) -> None:
        self._projectors: dict[Path, list[FileSet]] = {}
        for projector in projectors:
            self._projectors.setdefault(projector.first.path.parent, []).append(projector)
        self._keys: dict[Path, set[Key]] = {}
        for model in models:
            folder = model.first.path.parent
            for place in (folder, folder.parent):
                self._keys.setdefault(place, set()).add(key_of(model.stem))

    def of(self, model: FileSet) -> Path | None:
        if model.first.place.kind is PlaceKind.OLLAMA:
            return None
        folder = model.first.path.parent
        home = folder if folder in self._projectors else folder.parent
        alone = len(self._keys.get(home, ())) == 1
        ranked = [
            (rank, _quality(each), each.first.path)
            for each in self._projectors.get(home, ())
            if (rank := suits(model, each, alone=alone)) is not None
        ]
        return min(ranked)[2] if ranked else None


def suits(model: FileSet, projector: FileSet, *, alone: bool) -> int | None:
    """How surely it is the model's, 0 the surest; None: it is not. By name, unless a header says
    otherwise. `alone`: there is no other model beside it.
    """
    assert projector.header is not None, "it was read to know that it is one"
    if model.header is None or not _widths_agree(model.header, projector.header):
        return None
    mine, its = key_of(model.stem), key_of(projector.stem)
    if mine == its:
        return 0
    if _names(model.header) & _names(projector.header):
        return 1
    shorter = min(len(mine), len(its))
    if shorter and mine[:shorter] == its[:shorter]:
        return 2
    return 3 if alone and not its else None


def key_of(stem: str) -> Key:
    """Without what says only how exact it is, or that it is a projector."""
    plain = stem.lower()
    while (less := _QUANTIZATION.sub("", plain)) != plain:
        plain = less
    return tuple(word for word in _WORDS.split(plain) if word not in _SAY_NOTHING)


def _names(header: Header) -> set[Key]:
    told = (header.text(f"general.{word}") for word in ("name", "basename"))
    return {key for text in told if (key := key_of(text))}


def _widths_agree(model: Header, projector: Header) -> bool:
    """False only where the projector puts out vectors that the model does not take."""
    width = model.metadata.get(f"{model.architecture}.embedding_length")
    last = [t.dimensions for t in projector.tensors if t.name.startswith("mm.")]
    told = {size for dimensions in last if len(dimensions) > 1 for size in dimensions}
    if not told or not isinstance(width, int):
        return True
    return width in told or width == projector.metadata.get("clip.vision.projection_dim")


def _quality(projector: FileSet) -> int:
    words = re.split(r"[-.]", projector.first.path.stem.lower())
    return next((rank for rank, kind in enumerate(_BEST_FIRST) if kind in words), len(_BEST_FIRST))
