"""What a sweep of the places of models brings: values."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class PlaceKind(StrEnum):
    FOLDER = "folder"
    HUGGING_FACE = "Hugging Face cache"
    OLLAMA = "Ollama's store"


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Where models are looked for."""

    kind: PlaceKind
    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSeen:
    """One file, with what the file system says of it."""

    path: Path
    place: ModelPlace
    size_bytes: int
    modified_ns: int
    identity: tuple[int, int]  # the same for all names of one file
    called: str | None = None  # what its store calls the model; None: it is called after the file
    projector: Path | None = None  # where its store says which one it is
    context_size: int | None = None  # where its store says so
    problem: str | None = None  # what its store says of it that rules it out

    @property
    def state(self) -> tuple[int, int]:
        """Changes while it is written."""
        return self.size_bytes, self.modified_ns


@dataclass(frozen=True, slots=True)
class Sweep:
    """All that one look at the places saw."""

    files: tuple[FileSeen, ...] = ()
    notes: tuple[str, ...] = ()  # sentences: what could not be looked at, and why
    unread: frozenset[ModelPlace] = frozenset()  # what was seen there the last time still holds
