"""Whether a file is a whole model at all: asked before a resident is evicted for it."""

from pathlib import Path

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Part
from orchestrator.gguf.reader import read_header

SOUND_KEPT_MAX = 1024  # models; beyond that the longest known is read again

_Identity = tuple[int, ...]


class Soundness:
    """Remembers which files were whole: reading a large vocabulary takes 50 ms, looking whether a
    file is still the same takes none. May be asked by several threads.
    """

    def __init__(self) -> None:
        self._sound: dict[Path, tuple[tuple[Path, _Identity], ...]] = {}

    def damage(self, path: Path) -> str | None:
        """What keeps the file from being a whole model, in words; None if nothing does.

        Looks at the header only, which takes milliseconds however large the file is.
        """
        known = self._sound.get(path)
        if known and all(_identity(part) == identity for part, identity in known):
            return None
        try:
            header = read_header(path)
            header.require_whole_file()
        except GgufError as error:
            words = str(error)
            return f"it {words.removeprefix(f'{path} ')}" if words.startswith(f"{path} ") else words
        self._remember(path, header.parts)
        return None

    def _remember(self, path: Path, parts: tuple[Part, ...]) -> None:
        read = tuple((part.path, _identity(part.path)) for part in parts)
        self._sound.pop(path, None)
        if all(
            identity[:2] == (part.size_bytes, part.modified_ns)
            for part, (_, identity) in zip(parts, read, strict=True)
        ):
            self._sound[path] = read
        while len(self._sound) > SOUND_KEPT_MAX:
            self._sound.pop(next(iter(self._sound)), None)


def _identity(path: Path) -> _Identity:
    """Changes when the file is written to, replaced or gone."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_dev, stat.st_ino)
