"""Writes a client's settings: what was there is kept beside it, and nothing is half written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.cli.connect.merging import NotMerged

FILE_BYTES_MAX = 4 << 20  # settings of a program are not longer
PRIVATE = 0o600  # of a new file: it may hold a key


@dataclass(frozen=True, slots=True)
class FileWritten:
    path: Path
    backup: Path | None = None
    changed: bool = True


def write(path: Path, merge: Callable[[str], str], now: datetime) -> FileWritten:
    """Raise NotMerged or OSError; then the file is as it was. Links are followed, and stay."""
    real = Path(os.path.realpath(path))
    old = _read(real)
    new = _merged(old or "", merge)
    if new == old:
        return FileWritten(path, changed=False)
    backup = None
    if old is not None:
        backup = real.with_name(f"{real.name}.{now:%Y%m%d-%H%M%S}.bak")
        _put(backup, old, real.stat().st_mode & 0o777)
    real.parent.mkdir(parents=True, exist_ok=True)
    _put(real, new, PRIVATE if old is None else real.stat().st_mode & 0o777)
    return FileWritten(path, backup)


def _merged(old: str, merge: Callable[[str], str]) -> str:
    """Lines end as they did."""
    if "\r\n" not in old:
        return merge(old)
    return merge(old.replace("\r\n", "\n")).replace("\n", "\r\n")


def _read(path: Path) -> str | None:
    """None if it does not exist."""
    if not path.exists():
        return None
    if not path.is_file():
        raise NotMerged("it is no file")
    if path.stat().st_size > FILE_BYTES_MAX:
        raise NotMerged(f"it has more than {FILE_BYTES_MAX} bytes")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise NotMerged("it is not UTF-8") from error


def _put(path: Path, text: str, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
