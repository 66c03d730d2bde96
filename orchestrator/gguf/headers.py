"""Headers of model files, read once for as long as the files stay as they are."""

from collections import OrderedDict
from pathlib import Path

from orchestrator.gguf.header import Header, Part
from orchestrator.gguf.reader import read_header

# A header takes some hundred kilobytes without the vocabulary; more files than any catalogue names.
HEADERS_MAX = 1024


class Headers:
    """Safe to ask from several threads: at worst a file is read twice."""

    def __init__(self) -> None:
        self._known: OrderedDict[Path, Header] = OrderedDict()
        self._awaited: set[Path] = set()

    def expect(self, path: Path, header: Header) -> None:
        """The header of a model that will be downloaded to `path`: used until the file is there."""
        self._keep(path, header)
        self._awaited.add(path)

    def of(self, path: Path) -> Header:
        """Blocking: 10 to 30 ms for a file that is new or has changed. Raise `GgufError`."""
        known = self._known.get(path)
        if known is not None and (
            not path.exists()
            if path in self._awaited
            else all(_unchanged(part) for part in known.parts)
        ):
            return known
        header = read_header(path)
        self._awaited.discard(path)
        self._keep(path, header)
        return header

    def remembered(self, path: Path) -> Header:
        """What was read last, without a look at the disk; read now if nothing was."""
        return self._known.get(path) or self.of(path)

    def _keep(self, path: Path, header: Header) -> None:
        self._known[path] = header
        while len(self._known) > HEADERS_MAX:
            oldest, _ = self._known.popitem(last=False)
            self._awaited.discard(oldest)


def _unchanged(part: Part) -> bool:
    try:
        now = part.path.stat()
    except OSError:
        return False
    return (now.st_size, now.st_mtime_ns) == (part.size_bytes, part.modified_ns)
