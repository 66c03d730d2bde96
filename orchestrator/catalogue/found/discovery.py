"""What was found so far, and the models that follow from it beside those that are written down."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchestrator.catalogue.found.finds import Find, finds
from orchestrator.catalogue.found.seen import FileSeen, ModelPlace, PlaceKind, Sweep
from orchestrator.catalogue.found.sets import FileSet, arrived, file_sets, with_header
from orchestrator.catalogue.found.specs import found_spec, identity_of
from orchestrator.catalogue.found.sweeping import sweep
from orchestrator.config.discovery_section import DiscoverySettings
from orchestrator.config.loading import Config
from orchestrator.config.models import Estimate
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.specs import ModelSpecs
from orchestrator.gguf.header import Header

LONG_NS = 100_000_000  # of a sweep: 1000 files among 20,000 others take twice that
RESTS = 20  # times as long as it took, from one long sweep to the next: a twentieth of a core

PlacesOf = Callable[[DiscoverySettings], tuple[ModelPlace, ...]]


def no_places(settings: DiscoverySettings) -> tuple[ModelPlace, ...]:  # noqa: ARG001 - a PlacesOf
    """Nothing is looked for."""
    return ()


def places(
    settings: DiscoverySettings, hub_home: Path, ollama: Iterable[Path]
) -> tuple[ModelPlace, ...]:
    """In the order in which names are given. `ollama`: where its store may be."""
    there = [ModelPlace(PlaceKind.FOLDER, Path(folder)) for folder in settings.folders]
    if settings.hugging_face:
        there.append(ModelPlace(PlaceKind.HUGGING_FACE, hub_home / "hub"))
    if settings.ollama:
        there += [ModelPlace(PlaceKind.OLLAMA, store) for store in ollama]
    return tuple(dict.fromkeys(there))


class Discovery:
    """Blocking: not for the loop's thread."""

    def __init__(
        self,
        places_of: PlacesOf,
        read: Callable[[Path], Header],
        *,
        look: Callable[[Iterable[ModelPlace]], Sweep] = sweep,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`read` returns the header of a file, or raises GgufError."""
        self._places_of = places_of
        self._read = read
        self._look = look
        self._clock_ns = clock_ns
        self._files: tuple[FileSeen, ...] = ()
        self._sets: dict[tuple[FileSeen, ...], FileSet] = {}
        self._notes: tuple[str, ...] = ()
        self._said: tuple[str, ...] = ()
        self._rests_until_ns = 0
        self._turn = threading.Lock()
        self.finds: tuple[Find, ...] = ()

    def sweep(self, settings: DiscoverySettings) -> bool:
        """Look at the places. Whether what is found differs from the last time."""
        with self._turn:
            began_ns = self._clock_ns()
            try:
                return self._sweep(settings)
            finally:
                took_ns = self._clock_ns() - began_ns
                self._rests_until_ns = began_ns + took_ns * RESTS if took_ns > LONG_NS else 0

    @property
    def rests(self) -> bool:
        """The last sweep took long: a large place or a slow disk has time until the next."""
        return self._clock_ns() < self._rests_until_ns

    def _sweep(self, settings: DiscoverySettings) -> bool:
        seen = self._look(self._places_of(settings))
        kept = [file for file in self._files if file.place in seen.unread]
        files = (*seen.files, *kept)
        before = {file.path: file.state for file in self._files}
        known = frozenset(find.path for find in self.finds if find.files.problem is None)
        now_ns = self._clock_ns()
        sets = {of.files: self._known(of) for of in file_sets(files)}
        found = finds([of for of in sets.values() if arrived(of, now_ns, before, known)])
        self._files, self._sets, self._notes = files, sets, seen.notes
        if found == self.finds:
            return False
        self.finds = found
        return True

    def _known(self, of: FileSet) -> FileSet:
        """As it was read before, unless something was wrong with it: that may be mended."""
        known = self._sets.get(of.files)
        return with_header(of, self._read) if known is None or known.problem else known

    def beside(self, config: Config, specs: ModelSpecs, estimate: Estimate) -> ModelSpecs:
        """Those that were found and that nobody wrote down, neither by name nor by file."""
        taken = {word for spec in specs.values() for word in (spec.name, *spec.aliases)}
        taken |= {*config.gateway.chains}
        files = {identity_of(spec.file) for spec in specs.values() if spec.file is not None}
        found = (
            found_spec(find, config, estimate)
            for find in self.finds
            if find.name not in taken and find.files.first.identity not in files
        )
        return {spec.name: spec for spec in found}

    def news(self) -> Iterator[Decide]:
        """What could not be looked at, said once. Never blocks."""
        said, self._said = self._said, self._notes
        for note in self._said:
            if note not in said:
                yield Decide(kind=DecisionKind.CATALOGUE, text=note)

    def path_of(self, name: str) -> Path | None:
        return next((find.path for find in self.finds if find.name == name), None)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes
