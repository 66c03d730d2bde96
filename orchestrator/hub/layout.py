"""Where things lie in a Hugging Face cache, so that every program that knows one finds them.

HOME/hub/models--ORG--REPO/blobs/HASH            the bytes, once
                          /blobs/HASH.incomplete  what has arrived of them
                          /snapshots/COMMIT/PATH  relative links into blobs
                          /refs/REVISION          the commit that a name means
HOME/hub/.locks/models--ORG--REPO/HASH.lock      held while HASH is written
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.progress import TICK_S, Patience
from orchestrator.hub.references import is_projector

COMMIT = re.compile(r"[0-9a-f]{40}")
_REF_BYTES_MAX = 100  # a commit is 40


@dataclass(frozen=True, slots=True)
class RepoCache:
    """The part of the cache that belongs to one repository."""

    home: Path
    repo: str

    @property
    def folder(self) -> Path:
        return self.home / "hub" / self._name

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest

    def partial(self, digest: str) -> Path:
        return self.folder / "blobs" / f"{digest}.incomplete"

    def lock(self, digest: str) -> Path:
        return self.home / "hub" / ".locks" / self._name / f"{digest}.lock"

    def file(self, commit: str, path: str) -> Path:
        return self.folder / "snapshots" / commit / path

    def commit_of(self, revision: str) -> str | None:
        """What the revision meant when it was last pulled; None if it never was."""
        if COMMIT.fullmatch(revision):
            return revision
        try:
            with (self.folder / "refs" / revision).open() as file:
                commit = file.read(_REF_BYTES_MAX).strip()
        except OSError:
            return None
        return commit if COMMIT.fullmatch(commit) else None

    def names(self, commit: str) -> tuple[str, ...]:
        """The files of that commit whose bytes are here."""
        root = self.folder / "snapshots" / commit
        found = (path for path in root.rglob("*") if path.is_file())  # of links: what they lead to
        return tuple(sorted(str(path.relative_to(root)) for path in found))

    def link(self, commit: str, path: str, digest: str) -> Path:
        """Let the name lead to the bytes, whatever was there before."""
        name = self.file(commit, path)
        name.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=name.parent, prefix=".link-") as aside:
            fresh = Path(aside) / "link"
            fresh.symlink_to(os.path.relpath(self.blob(digest), name.parent))
            fresh.replace(name)
        return name

    def remember(self, revision: str, commit: str) -> None:
        """Note what the revision means, in one step: a reader sees the old commit or the new."""
        if COMMIT.fullmatch(revision):
            return
        ref = self.folder / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh = ref.with_name(f".{ref.name}.{os.getpid()}")
        fresh.write_text(commit)
        fresh.replace(ref)

    @property
    def _name(self) -> str:
        return "models--" + self.repo.replace("/", "--")


def path_in_repository(model: Path) -> str | None:
    """What the repository calls a file of the cache; None if it lies in none."""
    for folder in model.parents:
        if folder.parent.name == "snapshots" and COMMIT.fullmatch(folder.name):
            return str(model.relative_to(folder))
    return None


def projector_beside(model: Path) -> Path | None:
    """The projector that was pulled with a model; None if there is none, or more than one."""
    folders = [model.parent]
    if model.parent.parent.parent.name == "snapshots":
        folders.append(model.parent.parent)  # parts lie in a folder, what all sizes share above
    for folder in folders:
        found = [path for path in folder.glob("*.gguf") if is_projector(path.name)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


@contextmanager
def locked(
    lock: Path, grown: Callable[[], int], waiting: Callable[[], None], patience: Patience
) -> Iterator[None]:
    """One writer at a time, over processes; a dead one's lock is free at once.

    Raise PullFailed when another holds it and `grown` stays the same for too long.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        idle_s, seen = 0.0, grown()
        while not _taken(file.fileno()):
            if idle_s >= patience.lock_idle_s:
                raise PullFailed(
                    Cause.LOCKED,
                    f"Another process holds {lock} and has written nothing for {idle_s:.0f} s.",
                    "End that process; its lock goes with it.",
                )
            waiting()
            patience.sleep(TICK_S)
            size = grown()
            idle_s, seen = (idle_s + TICK_S, seen) if size == seen else (0.0, size)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
