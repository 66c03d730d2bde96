"""What a model on a hub will be, told from the first megabytes of its files.

Nothing is kept: files of the true names and sizes, whose beginnings alone hold bytes, are there
for as long as the caller reads them.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from orchestrator.hub.access import ENDPOINT
from orchestrator.hub.connection import Facts, Hub, persist
from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.layout import Shelf
from orchestrator.hub.progress import Meter, Patience, Phase, Report
from orchestrator.hub.pulling import disk_translated, tell_nobody
from orchestrator.hub.references import Reference, choose, parse

# A vocabulary of 150 000 words with its merges takes 8 MB; the largest known today take 20.
BEGINNINGS = (2 << 20, 16 << 20, 64 << 20)

# Given a file of which so many bytes are right, whether they are its whole header.
Suffices = Callable[[Path, int], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glanced:
    """One file: where it can be read from now, and where a pull will put it."""

    here: Path
    later: Path
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    parts: tuple[Glanced, ...]  # of the model, in their order
    projector: Glanced | None

    @property
    def total_bytes(self) -> int:
        projector = () if self.projector is None else (self.projector,)
        return sum(each.size_bytes for each in (*self.parts, *projector))


@contextmanager
def glance(
    reference: str,
    suffices: Suffices,
    *,
    home: Path,
    endpoint: str = ENDPOINT,
    token: str | None = None,
    progress: Report = tell_nobody,
    patience: Patience | None = None,
) -> Iterator[Glance]:
    """The beginnings of everything that a pull of the reference would bring.

    Raise PullFailed, or what `progress` raises.
    """
    wanted, bounds = parse(reference), patience or Patience()
    meter = Meter(progress, bounds)
    with tempfile.TemporaryDirectory(prefix="glance-") as folder:
        with disk_translated(Path(folder)), Hub(endpoint, token, bounds) as hub:
            meter.say(Phase.ASKING)
            listing = persist(lambda: hub.listing(wanted), meter, bounds)
            chosen = choose(wanted, tuple(listing.digests))
            look = _Look(hub, wanted, listing.commit, Path(folder), Shelf(home, wanted.repo))
            seen: list[Glanced] = []
            for path in chosen.all:
                facts = persist(partial(hub.facts, wanted, listing, path), meter, bounds)
                meter.say(Phase.ASKING, file=path)
                seen.append(look.at(facts, suffices, meter, bounds))
        yield _arranged(seen, len(chosen.parts))


def _arranged(seen: Sequence[Glanced], parts: int) -> Glance:
    return Glance(parts=tuple(seen[:parts]), projector=seen[parts] if parts < len(seen) else None)


@dataclass(frozen=True, slots=True)
class _Look:
    hub: Hub
    reference: Reference
    commit: str
    folder: Path
    shelf: Shelf

    def at(self, facts: Facts, suffices: Suffices, meter: Meter, patience: Patience) -> Glanced:
        here = self.folder / facts.path
        here.parent.mkdir(parents=True, exist_ok=True)
        for most in BEGINNINGS:
            known = persist(partial(self._begin, facts, here, most), meter, patience)
            if known == facts.size_bytes or suffices(here, known):
                later = self.shelf.file(self.commit, facts.path)
                return Glanced(here=here, later=later, size_bytes=facts.size_bytes)
        raise PullFailed(
            Cause.BAD_ANSWER,
            f"The header of {facts.path} is longer than {BEGINNINGS[-1] >> 20} MiB.",
            "It is no usual model: pull it, or say what it takes (vram_mb).",
        )

    def _begin(self, facts: Facts, here: Path, most: int) -> int:
        """Write the first bytes of it, and nothing else that is as long; say how many."""
        known, wanted = 0, min(most, facts.size_bytes)
        with (
            here.open("wb") as file,
            self.hub.body(self.reference, self.commit, facts.path, 0) as (_, pieces),
        ):
            for piece in pieces:
                known += file.write(piece[: wanted - known])
                if known >= wanted:
                    break
            file.truncate(facts.size_bytes)  # sparse: its size is part of what it says
        return known
