"""One pull from end to end: ask, choose, look for room, bring, verify, link."""

import errno
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from orchestrator.hub.access import ENDPOINT
from orchestrator.hub.connection import Facts, Hub, persist
from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.layout import Shelf
from orchestrator.hub.progress import Meter, Patience, Phase, Progress, Report
from orchestrator.hub.references import Chosen, Reference, choose, parse
from orchestrator.hub.transfer import Source, bring, size_of

RESERVE_BYTES = 256 << 20  # stays free: a full disk stops more than a download
_MIB = 1 << 20


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def tell_nobody(progress: Progress) -> None:
    """The default report."""


def pull(
    reference: str,
    *,
    home: Path,
    endpoint: str = ENDPOINT,
    token: str | None = None,
    progress: Report = tell_nobody,
    patience: Patience | None = None,
    free_bytes: Callable[[Path], int] = _free_bytes,
) -> Path:
    """The path of the model (of a split one, its first part) with all that belongs to it.

    `home` is what HF_HOME names. Without a network, what was pulled before is answered. Raise
    PullFailed, or what `progress` raises: either way nothing half-done has a model's name, and
    the next pull goes on from where this one ended.
    """
    wanted, bounds = parse(reference), patience or Patience()
    meter = Meter(progress, bounds)
    shelf = Shelf(home, wanted.repo)
    with disk_translated(home), Hub(endpoint, token, bounds) as hub:
        meter.say(Phase.ASKING)
        try:
            listing = persist(lambda: hub.listing(wanted), meter, bounds)
        except PullFailed as failure:
            kept = cached(reference, home=home) if failure.cause is Cause.NO_NETWORK else None
            if kept is None:
                raise
            meter.say(Phase.OFFLINE, file=kept.name)
            return kept
        chosen = choose(wanted, tuple(listing.digests))
        ask = partial(hub.facts, wanted, listing)
        files = [persist(partial(ask, path), meter, bounds) for path in chosen.all]
        _need_room(files, shelf, free_bytes)
        meter.expect(sum(facts.size_bytes for facts in files))
        source = Source(
            hub=hub,
            reference=wanted,
            commit=listing.commit,
            shelf=shelf,
            meter=meter,
            patience=bounds,
        )
        for facts in files:
            bring(facts, source)
        return _shelve(files, wanted, listing.commit, shelf, meter)


def cached(reference: str, *, home: Path) -> Path | None:
    """Where the model is since an earlier pull, without asking anybody; None if it is not."""
    wanted = parse(reference)
    shelf = Shelf(home, wanted.repo)
    commit = shelf.commit_of(wanted.revision)
    if commit is None:
        return None
    try:
        chosen: Chosen = choose(wanted, shelf.names(commit))
    except PullFailed:
        return None
    return shelf.file(commit, chosen.parts[0])


def _shelve(
    files: Sequence[Facts], wanted: Reference, commit: str, shelf: Shelf, meter: Meter
) -> Path:
    # The first part comes last: whoever finds it finds everything.
    linked = [shelf.link(commit, facts.path, facts.digest) for facts in reversed(files)]
    shelf.remember(wanted.revision, commit)
    meter.say(Phase.DONE, file=files[0].path)
    return linked[-1]


def _need_room(files: Sequence[Facts], shelf: Shelf, free_bytes: Callable[[Path], int]) -> None:
    """Raise PullFailed before the first byte rather than after the last that fits."""
    missing = sum(_missing_bytes(facts, shelf) for facts in files)
    if missing == 0:
        return
    shelf.folder.mkdir(parents=True, exist_ok=True)
    free = free_bytes(shelf.folder)
    if missing + RESERVE_BYTES > free:
        raise PullFailed(
            Cause.DISK_FULL,
            f"{_together(files)} needs {missing // _MIB} MiB more in {shelf.home}, and"
            f" {RESERVE_BYTES // _MIB} MiB stay free; {free // _MIB} MiB are free.",
            "Make room there, or set HF_HOME to a folder on a larger disk.",
        )


def _together(files: Sequence[Facts]) -> str:
    name = files[0].path
    return name if len(files) == 1 else f"{name} with {len(files) - 1} more files"


def _missing_bytes(facts: Facts, shelf: Shelf) -> int:
    if size_of(shelf.blob(facts.digest)) == facts.size_bytes:
        return 0
    return max(0, facts.size_bytes - size_of(shelf.partial(facts.digest)))


@contextmanager
def disk_translated(home: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # of whoever listens to the progress: no disk is broken
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PullFailed(
                Cause.DISK_FULL,
                f"The disk of {home} is full.",
                "Make room and run it again: what has arrived is kept.",
            ) from error
        raise PullFailed(
            Cause.UNWRITABLE,
            f"{error.filename or home} cannot be used: {error.strerror or error}.",
            "Let this user write there, or set HF_HOME to a folder that it owns.",
        ) from error
