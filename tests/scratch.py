"""A directory of its own for every run, removed with it as far as it can be.

pytest would keep those of three runs in one place of the user's and fail a run over what another
one has left there: a mount, or a file of another user. What a failed run wrote is kept for a day.
"""

import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "vram-tests-"  # short: a socket's path has 107 bytes
KEPT_S = 24 * 3600.0


def make() -> Path:
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if left.lstat().st_mtime < time.time() - KEPT_S:
            remove(left)
    return Path(tempfile.mkdtemp(prefix=PREFIX))


def remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
