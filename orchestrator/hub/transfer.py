"""Brings the bytes of one file, goes on where an earlier try ended, and keeps no wrong byte."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from orchestrator.hub.connection import Facts, Hub, persist
from orchestrator.hub.failures import Again, Cause, PullFailed
from orchestrator.hub.layout import RepoCache, locked
from orchestrator.hub.progress import Meter, Patience, Phase
from orchestrator.hub.references import Reference

READ_BYTES = 1 << 20
SHA256_LENGTH = 64
STARTS_MAX = 2  # a wrong hash may come from what an earlier pull left; the second one does not
BREAKS_MAX = 100  # of one file, though bytes arrived before every one: such a line needs a person
BREAK_PAUSE_S = 1.0  # before going on after such a break


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One commit of one repository: where files come from and where they go."""

    hub: Hub
    reference: Reference
    commit: str
    cache: RepoCache
    meter: Meter
    patience: Patience


def bring(facts: Facts, source: Source) -> None:
    """Return when the blob is here and verified. Raise PullFailed; what arrived is kept."""
    cache, meter = source.cache, source.meter
    blob, partial = cache.blob(facts.digest), cache.partial(facts.digest)
    meter.say(Phase.DOWNLOADING, file=facts.path)
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock = cache.lock(facts.digest)
    with locked(lock, lambda: size_of(partial), lambda: meter.say(Phase.WAITING), source.patience):
        if blob.is_file() and size_of(blob) == facts.size_bytes:
            meter.count(facts.size_bytes)
            return
        for _ in range(STARTS_MAX):
            with Partial(partial, facts, meter) as file:
                _fill(file, source)
                if file.is_right():
                    file.keep()
                    partial.replace(blob)
                    return
                file.rewind()
        partial.unlink()
    raise PullFailed(
        Cause.WRONG_HASH,
        f"{facts.path} arrived {STARTS_MAX} times with other bytes than the hub promises.",
        "Something between changes it: use another network, or another HF_ENDPOINT.",
    )


def size_of(path: Path) -> int:
    """In bytes; 0 if there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Hash(Protocol):
    def update(self, piece: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class Partial:
    """What has arrived of a file, and its running hash. The caller holds the file's lock."""

    def __init__(self, path: Path, facts: Facts, meter: Meter) -> None:
        self.facts = facts
        self.size = 0
        self._meter = meter
        self._hash = _hash_for(facts)
        self._file = path.open("a+b", buffering=0)
        try:
            self._read_again()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, start: int, pieces: Iterable[bytes]) -> None:
        """Append what begins at `start`. Raise PullFailed if it is more than there can be."""
        if start != self.size:
            self.rewind()  # the server does not go on where it was asked to
            if start:
                raise Again(self._wrong("sent from the wrong place"))
        for piece in pieces:
            if self.size + len(piece) > self.facts.size_bytes:
                self.rewind()
                raise self._wrong("longer than the hub promises")
            written = 0
            while written < len(piece):
                written += self._file.write(piece[written:])
            self._count(piece)

    def is_right(self) -> bool:
        return self._hash.hexdigest() == self.facts.digest

    def rewind(self) -> None:
        """Forget all bytes."""
        self._file.truncate(0)
        self._meter.count(-self.size)
        self.size = 0
        self._hash = _hash_for(self.facts)

    def keep(self) -> None:
        """Put the bytes on the disk before they get their name: after a crash a blob is whole."""
        os.fsync(self._file.fileno())

    def _read_again(self) -> None:
        self._file.seek(0)
        while piece := self._file.read(READ_BYTES):
            if self.size + len(piece) > self.facts.size_bytes:
                self.rewind()
                return
            self._meter.say(Phase.CHECKING)
            self._count(piece)

    def _count(self, piece: bytes) -> None:
        self._hash.update(piece)
        self.size += len(piece)
        self._meter.count(len(piece))
        self._meter.say(Phase.DOWNLOADING)

    def _wrong(self, claim: str) -> PullFailed:
        return PullFailed(
            Cause.WRONG_HASH,
            f"{self.facts.path} is {claim}.",
            "Something between changes it: use another network, or another HF_ENDPOINT.",
        )


def _hash_for(facts: Facts) -> _Hash:
    if len(facts.digest) == SHA256_LENGTH:
        return hashlib.sha256()
    # What git keeps itself is named by git: a SHA-1 over a header and the bytes.
    return hashlib.sha1(b"blob %d\0" % facts.size_bytes, usedforsecurity=False)


def _fill(partial: Partial, source: Source) -> None:
    """Return when as many bytes are here as the hub promises."""
    for _ in range(BREAKS_MAX):
        # Attempts count only while nothing arrives: what is here is not asked for again.
        persist(lambda: _receive(partial, source), source.meter, source.patience)
        if partial.size == partial.facts.size_bytes:
            return
        source.meter.pause(BREAK_PAUSE_S, "The connection broke; it goes on.")
    raise _truncated(partial)


def _receive(partial: Partial, source: Source) -> None:
    """One answer's worth of bytes. Raise Again if that brought nothing."""
    facts, before = partial.facts, partial.size
    if before == facts.size_bytes:
        return
    try:
        with source.hub.body(source.reference, source.commit, facts.path, before) as answer:
            partial.take(*answer)
    except Again:
        if partial.size <= before:
            raise
    if partial.size <= before:
        raise Again(_truncated(partial))


def _truncated(partial: Partial) -> PullFailed:
    facts = partial.facts
    return PullFailed(
        Cause.TRUNCATED,
        f"{facts.path} ended after {partial.size} of {facts.size_bytes} bytes.",
        "Run it again: what has arrived is kept.",
    )
