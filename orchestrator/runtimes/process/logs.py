"""Log files that model servers write to by themselves, kept small from outside.

A server outlives the daemon, so it has the file open itself instead of a pipe to us. It appends:
when a file is too large its last part is copied aside and the file is emptied under the writer,
whose next line then starts it anew. Lines that arrive between copy and emptying are lost.
The name of the part aside says how many bytes came before the file, so a size never shrinks.
"""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName

LOG_BYTES_MAX = 8 << 20  # llama-server writes some 300 bytes a request: about 25 000 requests
LOGS_PER_MODEL_MAX = 5  # instances of one model: enough to see a crash repeat
TAIL_BYTES_MAX = 256 << 10  # read at most, however many lines are asked for
LINE_CHARS_MAX = 2000  # a server that prints a whole prompt must not fill an answer
_NAME_CHARS_MAX = 80  # two of them and the endings stay below the 255 bytes of a file name
_COPY_BYTES = 1 << 20


class ServerLogs:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, model: ModelName, instance: InstanceId) -> Path:
        return self._directory / f"{_safe(model)}@{_safe(instance)}.log"

    def open(self, model: ModelName, instance: InstanceId) -> int:
        """A descriptor to append with, for a child. Raise OSError if the disk does not take it.

        Logs of the model's older instances are removed but for the last few.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.path(model, instance)
        self._prune(model, keep=path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def trim(self) -> int:
        """Cut every log that is too large; say how many were."""
        trimmed = 0
        for path in self._directory.glob("*.log"):
            with suppress(FileNotFoundError):  # pruned meanwhile
                if path.stat().st_size > LOG_BYTES_MAX:
                    _trim(path)
                    trimmed += 1
        return trimmed

    def _prune(self, model: ModelName, keep: Path) -> None:
        lives = [path for path in self._directory.glob(f"{_safe(model)}@*.log") if path != keep]
        ages = []
        for path in lives:
            with suppress(FileNotFoundError):
                ages.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(ages, reverse=True)[LOGS_PER_MODEL_MAX - 1 :]:
            for file in (path, *_aside(path)):
                file.unlink(missing_ok=True)


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """The last lines, as far as they are near the end; empty if there is no such file."""
    if lines <= 0:
        return ()
    text = _last_bytes(path, TAIL_BYTES_MAX)
    for aside in _aside(path):
        missing = TAIL_BYTES_MAX - len(text)
        if missing > 0 and text.count(b"\n") < lines:
            text = _last_bytes(aside, missing) + text
    found = text.decode(errors="replace").splitlines()
    return tuple(line[:LINE_CHARS_MAX] for line in found[-lines:])


def size(path: Path) -> int:
    """How many bytes were ever written to it, also those that were cut off."""
    before = max((_offset(aside) for aside in _aside(path)), default=0)
    try:
        return before + path.stat().st_size
    except FileNotFoundError:
        return before


def _trim(path: Path) -> None:
    written = size(path)
    old = _aside(path)
    new = path.with_name(f"{path.name}.{written}")
    # A full disk is the reason to empty the file, not to leave it: then the lines are lost.
    with suppress(OSError):
        _copy_end(path, new)
    os.truncate(path, 0)
    for aside in old:
        aside.unlink(missing_ok=True)


def _copy_end(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        reader.seek(max(0, reader.seek(0, os.SEEK_END) - LOG_BYTES_MAX))
        left = LOG_BYTES_MAX
        while left > 0 and (piece := reader.read(min(_COPY_BYTES, left))):
            writer.write(piece)
            left -= len(piece)


def _aside(path: Path) -> list[Path]:
    """What was cut off the file: one part, or two if a trim was interrupted."""
    found = [aside for aside in path.parent.glob(f"{path.name}.*") if _offset(aside)]
    return sorted(found, key=_offset, reverse=True)


def _offset(aside: Path) -> int:
    digits = aside.name.rpartition(".")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _last_bytes(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as reader:
            reader.seek(max(0, reader.seek(0, os.SEEK_END) - count))
            return reader.read(count)
    except FileNotFoundError:
        return b""


def _safe(name: str) -> str:
    """A file name for any name; different names never share one."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:_NAME_CHARS_MAX]
    if plain == name and not name.startswith("."):
        return plain
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{plain.lstrip('.')}~{digest}"
