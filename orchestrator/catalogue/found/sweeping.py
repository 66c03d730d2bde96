"""The one file that looks: walks the places of models and reads what their stores say.

Blocking. Never raises: what cannot be looked at is a note.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath

from orchestrator.catalogue.found.ollama_store import (
    MANIFEST_BYTES_MAX,
    Manifest,
    StoredModel,
    manifest_of,
    stored_model,
)
from orchestrator.catalogue.found.seen import FileSeen, ModelPlace, PlaceKind, Sweep

FILES_MAX = 1000  # models' files in one place: more are another machine's archive
ENTRIES_MAX = 50_000  # of any kind, of one place: some tenth of a second on a local disk
DEPTH_MAX = 8  # folders in folders

_SUFFIX = ".gguf"
_SNAPSHOTS = "snapshots"
_COMMIT_BYTES_MAX = 100  # of a file that holds a commit of 40


def sweep(places: Iterable[ModelPlace], *, depth: int = DEPTH_MAX) -> Sweep:
    files: list[FileSeen] = []
    notes: list[str] = []
    unread: set[ModelPlace] = set()
    for place in places:
        walk = _Walk(place, depth)
        try:
            files += list(walk.files())
        except FileNotFoundError:
            if place.kind is PlaceKind.FOLDER:
                notes.append(f"There is no folder {place}: no models are found there.")
        except OSError as error:
            unread.add(place)
            reason = error.strerror or error
            notes.append(f"{place} cannot be read: {reason}; what was found there before stays.")
        if walk.cuts:
            notes.append(
                f"{place} holds more than is looked at ({', '.join(walk.cuts)}): "
                "name a folder with the models alone."
            )
    return Sweep(tuple(files), tuple(notes), frozenset(unread))


def manifests(store: Path) -> list[Manifest]:
    """All of Ollama's store, within the bounds of a sweep; none where it cannot be read."""
    found: list[Manifest] = []
    with suppress(OSError):
        for place, text in _Walk(ModelPlace(PlaceKind.OLLAMA, store), DEPTH_MAX).manifests():
            if (said := manifest_of(place, text)) is not None:
                found.append(said)
    return found


class _Walk:
    """Through one place, within its bounds. A link to a folder is followed once."""

    def __init__(self, place: ModelPlace, depth: int) -> None:
        self._place = place
        self._depth = depth
        self._visited: set[tuple[int, int]] = set()
        self._entries = 0
        self._found = 0
        self.cuts: dict[str, None] = {}  # what was left out, in words

    def files(self) -> Iterator[FileSeen]:
        """Raise OSError where the place itself cannot be read."""
        match self._place.kind:
            case PlaceKind.OLLAMA:
                yield from self._stored()
            case PlaceKind.HUGGING_FACE:
                for folder in self._repositories():
                    yield from self._under(folder, 0)
            case _:
                yield from self._under(self._place.path, 0, top=True)

    def _under(self, folder: Path, depth: int, *, top: bool = False) -> Iterator[FileSeen]:
        try:
            entries = self._listed(folder)
        except OSError:
            if top:
                raise
            return
        for entry in entries:
            with suppress(OSError):  # gone meanwhile, a link to nowhere or to itself
                if entry.is_dir():
                    if depth >= self._depth:
                        self.cuts[f"folders deeper than {self._depth}"] = None
                    else:
                        yield from self._under(Path(entry.path), depth + 1)
                elif entry.name.lower().endswith(_SUFFIX) and entry.is_file():
                    yield from self._file(Path(entry.path))

    def _listed(self, folder: Path) -> list[os.DirEntry[str]]:
        """In the order of their names; none of a folder that was listed before. Raise OSError."""
        status = folder.stat()
        if (status.st_dev, status.st_ino) in self._visited:
            return []
        self._visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            entries = []
            for entry in listing:
                if self._entries >= ENTRIES_MAX:
                    self.cuts[f"more than {ENTRIES_MAX} entries"] = None
                    break
                self._entries += 1
                if not entry.name.startswith("."):
                    entries.append(entry)
        return sorted(entries, key=lambda entry: (_is_folder(entry), entry.name))

    def _file(self, path: Path, stored: StoredModel | None = None) -> Iterator[FileSeen]:
        """Raise OSError."""
        if self._found >= FILES_MAX:
            self.cuts[f"more than {FILES_MAX} model files"] = None
            return
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return
        self._found += 1
        blobs = self._place.path / "blobs"
        yield FileSeen(
            path=path,
            place=self._place,
            size_bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
            identity=(status.st_dev, status.st_ino),
            called=stored.name if stored else None,
            projector=blobs / stored.projector if stored and stored.projector else None,
            context_size=stored.context_size if stored else None,
            problem=stored.problem if stored else None,
        )

    def _repositories(self) -> Iterator[Path]:
        """What the branches of every repository in the cache mean now. Raise OSError."""
        for repository in self._listed(self._place.path):
            if not repository.name.startswith("models--"):
                continue
            folder = Path(repository.path)
            for commit in dict.fromkeys(_commits(folder / "refs")):
                yield folder / _SNAPSHOTS / commit

    def _stored(self) -> Iterator[FileSeen]:
        """By the manifests, which name the blobs. Raise OSError."""
        for place, text in self.manifests():
            stored = stored_model(place, text, self._parameters)
            with suppress(OSError):
                if stored is not None:
                    yield from self._file(self._place.path / "blobs" / stored.blob, stored)

    def manifests(self) -> Iterator[tuple[PurePath, bytes]]:
        """With the place of each among all. Raise OSError."""
        folder = self._place.path / "manifests"
        for path in self._texts(folder, 0):
            with suppress(OSError), path.open("rb") as file:
                yield path.relative_to(folder), file.read(MANIFEST_BYTES_MAX + 1)

    def _parameters(self, blob: str) -> bytes:
        try:
            with (self._place.path / "blobs" / blob).open("rb") as file:
                return file.read(MANIFEST_BYTES_MAX)
        except OSError:
            return b""

    def _texts(self, folder: Path, depth: int) -> Iterator[Path]:
        for entry in self._listed(folder):
            if entry.is_dir() and depth < DEPTH_MAX:
                yield from self._texts(Path(entry.path), depth + 1)
            elif entry.is_file():
                yield Path(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False


def _commits(refs: Path) -> Iterator[str]:
    """`main` first."""
    with suppress(OSError):
        for ref in sorted(refs.rglob("*"), key=lambda path: (path.name != "main", path.name)):
            if ref.is_file():
                with ref.open() as file:
                    commit = file.read(_COMMIT_BYTES_MAX).strip()
                if commit.isalnum():
                    yield commit
