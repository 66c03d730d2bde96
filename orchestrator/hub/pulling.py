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
from orchestrator.hub.layout import RepoCache
from orchestrator.hub.progress import Meter, Patience, Phase, Progress, Report
from orchestrator.hub.references import Chosen, Reference, choose, parse
from orchestrator.hub.transfer import Source, bring, size_of

RESERVE_BYTES = 256 << 20  # stays free: a full disk stops more than a download
_MIB = 1 << 20


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free


def no_report(progress: Progress) -> None:
    """The default report."""


def pull(
    reference: str,
    *,
    home: Path,
    endpoint: str = ENDPOINT,
    token: str | None = None,
    progress: Report = no_report,
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
    cache = RepoCache(home, wanted.repo)
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
        _need_room(files, cache, free_bytes)
        meter.expect(sum(facts.size_bytes for facts in files))
        source = Source(
            hub=hub,
            reference=wanted,
            commit=listing.commit,
            cache=cache,
            meter=meter,
            patience=bounds,
        )
        for facts in files:
            bring(facts, source)
        return _link_all(files, wanted, listing.commit, cache, meter)


def cached(reference: str, *, home: Path) -> Path | None:
    """Where the model is since an earlier pull, without asking the hub; None if it is not."""
    wanted = parse(reference)
    cache = RepoCache(home, wanted.repo)
    commit = cache.commit_of(wanted.revision)
    if commit is None:
        return None
    try:
        chosen: Chosen = choose(wanted, cache.names(commit))
    except PullFailed:
        return None
    return cache.file(commit, chosen.parts[0])


def _link_all(
    files: Sequence[Facts], wanted: Reference, commit: str, cache: RepoCache, meter: Meter
) -> Path:
    # The first part is linked last: once it is there, all parts are.
    linked = [cache.link(commit, facts.path, facts.digest) for facts in reversed(files)]
    cache.remember(wanted.revision, commit)
    meter.say(Phase.DONE, file=files[0].path)
    return linked[-1]


def _need_room(files: Sequence[Facts], cache: RepoCache, free_bytes: Callable[[Path], int]) -> None:
    """Raise PullFailed before the first byte rather than after the last that fits."""
    missing = sum(_missing_bytes(facts, cache) for facts in files)
    if missing == 0:
        return
    cache.folder.mkdir(parents=True, exist_ok=True)
    free = free_bytes(cache.folder)
    if missing + RESERVE_BYTES > free:
        raise PullFailed(
            Cause.DISK_FULL,
            f"{_together(files)} needs {missing // _MIB} MiB more in {cache.home}, and"
            f" {RESERVE_BYTES // _MIB} MiB stay free; {free // _MIB} MiB are free.",
            "Make room there, or set HF_HOME to a folder on a larger disk.",
        )


def _together(files: Sequence[Facts]) -> str:
    name = files[0].path
    return name if len(files) == 1 else f"{name} with {len(files) - 1} more files"


def _missing_bytes(facts: Facts, cache: RepoCache) -> int:
    if size_of(cache.blob(facts.digest)) == facts.size_bytes:
        return 0
    return max(0, facts.size_bytes - size_of(cache.partial(facts.digest)))


@contextmanager
def disk_translated(home: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of the progress is gone: the disk is not broken
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
