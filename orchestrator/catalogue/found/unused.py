"""GGUF files that a service may run and that no model is made of: what there is to add."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalogue.found.seen import ModelPlace, PlaceKind
from orchestrator.catalogue.found.sets import file_sets
from orchestrator.catalogue.found.specs import identity_of
from orchestrator.catalogue.found.sweeping import sweep
from orchestrator.config.loading import Config
from orchestrator.config.services import launches_files
from orchestrator.core.values.specs import ModelSpecs, ServiceName

LISTED_MAX = 100  # more than a person looks through


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedFile:
    """Of a split model its first part, with the size of all."""

    path: Path
    service: ServiceName
    size_bytes: int


def unused_files(config: Config, specs: ModelSpecs) -> tuple[UnusedFile, ...]:
    """Under the `models_dir` of the services, within the bounds of a sweep. Told by their names
    alone: whether one can be run, its estimate says. Blocking.
    """
    paths = [path for spec in specs.values() for path in (spec.file, spec.mmproj) if path]
    used = {identity_of(path) for path in paths}
    return tuple(one for one, identity in _there(config) if identity not in used)[:LISTED_MAX]


def _there(config: Config) -> Iterator[tuple[UnusedFile, tuple[int, int]]]:
    """A folder that several services read is of the first of them."""
    folders = {
        Path(entry.models_dir): name
        for name, entry in reversed(list(config.services.items()))
        if entry.models_dir is not None and launches_files(entry)
    }
    for folder, service in reversed(folders.items()):
        for of in file_sets(sweep([ModelPlace(PlaceKind.FOLDER, folder)]).files):
            inside = of.first.path.resolve().is_relative_to(folder.resolve())
            if inside and of.problem is None and not of.projects:
                size = sum(file.size_bytes for file in of.files)
                found = UnusedFile(path=of.first.path, service=service, size_bytes=size)
                yield found, of.first.identity
