"""What a model on a hub is, read from the first megabytes of its files without a download.

Nothing is kept: for as long as the caller reads them there are sparse files of the true names and
sizes, of which only the beginning is filled.
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
from orchestrator.hub.layout import RepoCache
from orchestrator.hub.progress import Meter, Patience, Phase, Report
from orchestrator.hub.publishing import Offer, offers
from orchestrator.hub.pulling import disk_translated, no_report
from orchestrator.hub.references import Reference, choose, parse

# A vocabulary of 150 000 words with its merges takes 8 MB; the largest known today take 20.
BEGINNINGS = (2 << 20, 16 << 20, 64 << 20)

# Given a file and how many of its first bytes are filled: whether they are the whole header.
Suffices = Callable[[Path, int], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekedFile:
    """One file: where it can be read from now, and where a pull will put it."""

    here: Path
    later: Path
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peek:
    parts: tuple[PeekedFile, ...]  # of the model, in their order
    projector: PeekedFile | None
    offers: tuple[Offer, ...] = ()  # the quantizations of its repository

    @property
    def total_bytes(self) -> int:
        projector = () if self.projector is None else (self.projector,)
        return sum(file.size_bytes for file in (*self.parts, *projector))


@contextmanager
def peek(
    reference: str,
    suffices: Suffices,
    *,
    home: Path,
    endpoint: str = ENDPOINT,
    token: str | None = None,
    progress: Report = no_report,
    patience: Patience | None = None,
) -> Iterator[Peek]:
    """The beginnings of all files that a pull of the reference would bring.

    Raise PullFailed, or what `progress` raises.
    """
    wanted, bounds = parse(reference), patience or Patience()
    meter = Meter(progress, bounds)
    with tempfile.TemporaryDirectory(prefix="peek-") as folder:
        with disk_translated(Path(folder)), Hub(endpoint, token, bounds) as hub:
            meter.say(Phase.ASKING)
            listing = persist(lambda: hub.listing(wanted), meter, bounds)
            chosen = choose(wanted, tuple(listing.digests))
            look = _Look(hub, wanted, listing.commit, Path(folder), RepoCache(home, wanted.repo))
            seen: list[PeekedFile] = []
            for path in chosen.all:
                facts = persist(partial(hub.facts, wanted, listing, path), meter, bounds)
                meter.say(Phase.ASKING, file=path)
                seen.append(look.at(facts, suffices, meter, bounds))
        yield _arranged(seen, len(chosen.parts), offers(wanted, listing.sizes))


def _arranged(seen: Sequence[PeekedFile], parts: int, offered: tuple[Offer, ...]) -> Peek:
    projector = seen[parts] if parts < len(seen) else None
    return Peek(parts=tuple(seen[:parts]), projector=projector, offers=offered)


@dataclass(frozen=True, slots=True)
class _Look:
    hub: Hub
    reference: Reference
    commit: str
    folder: Path
    cache: RepoCache

    def at(self, facts: Facts, suffices: Suffices, meter: Meter, patience: Patience) -> PeekedFile:
        here = self.folder / facts.path
        here.parent.mkdir(parents=True, exist_ok=True)
        for most in BEGINNINGS:
            known = persist(partial(self._begin, facts, here, most), meter, patience)
            if known == facts.size_bytes or suffices(here, known):
                later = self.cache.file(self.commit, facts.path)
                return PeekedFile(here=here, later=later, size_bytes=facts.size_bytes)
        raise PullFailed(
            Cause.BAD_ANSWER,
            f"The header of {facts.path} is longer than {BEGINNINGS[-1] >> 20} MiB.",
            "It is no usual model: pull it, or say what it takes (vram_mb).",
        )

    def _begin(self, facts: Facts, here: Path, most: int) -> int:
        """Fill the first bytes of a sparse file of the full size; return how many."""
        known, wanted = 0, min(most, facts.size_bytes)
        with (
            here.open("wb") as file,
            self.hub.body(self.reference, self.commit, facts.path, 0) as (_, pieces),
        ):
            for piece in pieces:
                known += file.write(piece[: wanted - known])
                if known >= wanted:
                    break
            file.truncate(facts.size_bytes)  # sparse; the header is checked against the size
        return known
