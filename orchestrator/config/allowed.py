"""Which files may be read beside those under a service's own roots: by acts of the operator.

The folders whose files are models, and the files that `orchestrator add` was given. Those are kept
in the state directory: who may write there runs this daemon, and a caller of the API does not.
"""

import json
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.config.services import launches_files

ALLOWED_FILE = "allowed-files.json"
ALLOWED_MAX = 10_000  # files: more than any catalogue names


def opened(entry: ServiceEntry, folders: Iterable[str], state_dir: Path) -> ServiceEntry:
    """With these further roots, where it reads files of this machine as it sees them."""
    if entry.runtime is not RuntimeName.PROCESS or not launches_files(entry):
        return entry
    roots = dict.fromkeys((*entry.allowed_roots, *folders, *allowed_files(state_dir)))
    return replace(entry, allowed_roots=tuple(roots))


def allowed_files(state_dir: Path) -> tuple[str, ...]:
    """None of them where the list is missing or damaged: then a file under no root is refused."""
    try:
        listed = json.loads((state_dir / ALLOWED_FILE).read_bytes())
    except (OSError, ValueError):
        return ()
    if not isinstance(listed, list):
        return ()
    return tuple(path for path in listed[-ALLOWED_MAX:] if isinstance(path, str) and path)


def allow(state_dir: Path, files: Iterable[Path]) -> None:
    """Whole or not at all. Raise OSError, for one if the directory is another user's."""
    listed = dict.fromkeys((*allowed_files(state_dir), *map(str, files)))
    path = state_dir / ALLOWED_FILE
    draft = path.with_suffix(f".{uuid.uuid4().hex}.tmp")
    try:
        with draft.open("w") as file:
            json.dump(list(listed), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
