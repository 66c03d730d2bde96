"""Which of the files that were seen belong together, and whether they have arrived."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalogue.found.seen import FileSeen, PlaceKind
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Header
from orchestrator.hub.references import is_projector

SETTLED_S = 3.0  # a file that nobody has written to for so long is not being written
ARRIVING_S = 60.0  # what is not whole so long after the last byte of it is not coming any more
NAMED_MAX = 3  # missing parts in one sentence

_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
# Of files that are no models and nothing is wrong with.
_BESIDE_MODELS = frozenset({"adapter", "imatrix", "controlvector", "control-vector"})
_INSIDE = ("v.", "mm.", "a.")  # tensors of a projector

Seen = Mapping[Path, tuple[int, int]]  # how files were the last time


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """The files of one model, with what their headers say; or of one projector."""

    files: tuple[FileSeen, ...]  # of a split model its parts in their order
    header: Header | None = None
    problem: str | None = None  # what keeps it from being a model

    @property
    def first(self) -> FileSeen:
        return self.files[0]

    @property
    def stem(self) -> str:
        name = self.first.path.name
        part = _PART.fullmatch(name)
        return part["stem"] if part else Path(name).stem if self.first.called is None else name

    @property
    def written_ns(self) -> int:
        return max(file.modified_ns for file in self.files)

    @property
    def projects(self) -> bool:
        if self.header is None:
            return is_projector(self.first.path.name)
        return self.header.architecture == "clip"

    @property
    def ignored(self) -> bool:
        header = self.header
        if header is None:
            return False
        return not _BESIDE_MODELS.isdisjoint({header.architecture, header.text("general.type")})


def file_sets(files: Iterable[FileSeen]) -> tuple[FileSet, ...]:
    """Parts together with the parts of the same model; of several names of one file the first."""
    known: set[tuple[int, int]] = set()
    together: dict[tuple[object, ...], list[FileSeen]] = {}
    for file in files:
        if file.called is None and file.identity in known:
            continue
        known.add(file.identity)
        part = _PART.fullmatch(file.path.name)
        key: tuple[object, ...] = (file.path, file.called)
        if part is not None:
            key = (file.path.parent, part["stem"], part["count"])
        together.setdefault(key, []).append(file)
    return tuple(
        _file_set(sorted(group, key=lambda file: file.path)) for group in together.values()
    )


def _file_set(files: list[FileSeen]) -> FileSet:
    part = _PART.fullmatch(files[0].path.name)
    problem = files[0].problem
    if part is not None:
        wanted = {f"{number:05}" for number in range(1, int(part["count"]) + 1)}
        there = {match["number"] for file in files if (match := _PART.fullmatch(file.path.name))}
        missing = sorted(wanted - there)
        if missing:
            listed = ", ".join(missing[:NAMED_MAX]) + (", …" if len(missing) > NAMED_MAX else "")
            problem = f"lacks part {listed} of {part['count']}"
    return FileSet(files=tuple(files), problem=problem)


def with_header(of: FileSet, read: Callable[[Path], Header]) -> FileSet:
    """Blocking where `read` is."""
    if of.problem is not None:
        return of
    try:
        header = read(of.first.path)
        header.require_whole_file()
    except GgufError as error:
        return FileSet(files=of.files, problem=_without_its_path(str(error), of.first.path))
    return FileSet(files=of.files, header=header, problem=_objection(of, header))


def _objection(of: FileSet, header: Header) -> str | None:
    if not header.tensors:
        return "holds no weights: it is a vocabulary alone"
    inside = any(tensor.name.startswith(_INSIDE) for tensor in header.tensors)
    if of.first.place.kind is PlaceKind.OLLAMA and inside and header.architecture != "clip":
        return (
            "holds its projector inside, which only Ollama's own engine reads: pull a GGUF of the "
            "model from a hub (`orchestrator add ORG/REPO`)"
        )
    return None


def _without_its_path(words: str, path: Path) -> str:
    return words.removeprefix(f"{path} ") if words.startswith(str(path)) else words


def arrived(of: FileSet, now_ns: int, before: Seen, known: frozenset[Path]) -> bool:
    """Whether it is shown: a model that nobody writes to, or what will not become one any more.

    `known` is what was shown before: it stays while it is whole.
    """
    quiet_s = (now_ns - of.written_ns) / 1e9
    if of.problem is not None and of.first.problem is None:
        return not 0 <= quiet_s < ARRIVING_S  # of the future: by another machine's clock
    if of.first.path in known or quiet_s >= SETTLED_S:
        return True
    return all(before.get(file.path) == file.state for file in of.files)
