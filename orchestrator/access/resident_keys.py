"""Keys of model servers: each has one of its own, which the daemon and its edge alone know.

A key lies in a file that only this user may read, named after where its server answers: it is found
again after a kill, by whoever asks there. It stands in no argument, no environment and no log.
"""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

FOLDER = "server-keys"  # of the state directory
KEY_BYTES = 32

Bearer = Callable[[str], str | None]  # of a server's URL: what it wants to hear


def no_bearer(_: str) -> str | None:
    """Of servers without keys."""
    return None


class ResidentKeys:
    def __init__(self, folder: Path) -> None:
        """Those that an earlier daemon has made are known at once. Raise nothing: where they cannot
        be read, their servers refuse us, which is said of them.
        """
        self._folder = folder
        self._keys: dict[str, str] = {}
        with suppress(OSError):
            for file in folder.iterdir():
                with suppress(OSError, UnicodeDecodeError):
                    self._keys[file.name] = file.read_text().strip()

    def make(self, authority: str) -> Path:
        """A new one for the server that will answer there, in a file. Raise OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key, file = secrets.token_urlsafe(KEY_BYTES), self._folder / authority
        with suppress(FileNotFoundError):
            file.unlink()
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(f"{key}\n")
        self._keys[authority] = key
        return file

    def drop(self, authority: str) -> None:
        """Nobody answers there any more, or without a key. Dropping twice is not an error."""
        if self._keys.pop(authority, None) is not None:
            with suppress(OSError):  # what is left is of no use
                (self._folder / authority).unlink()

    def bearer(self, url: str) -> str | None:
        """The value of Authorization for the server at this URL; None where it wants none."""
        if not self._keys:
            return None
        key = self._keys.get(urlsplit(url).netloc)
        return None if key is None else f"Bearer {key}"
