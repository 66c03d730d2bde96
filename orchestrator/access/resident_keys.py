"""Keys of model servers: each has one of its own, which the daemon and its edge alone know.

A key lies in a file that only this user may read, named after where its server answers, or after
its container: it is found again after a kill, by whoever asks there. It stands in no argument, no
environment and no log. Servers that somebody else defined have their own, which we are given.
"""

import os
import secrets
from collections.abc import Callable, Iterable
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
        self._keys: dict[str, str] = {}  # by the name of its file
        self._aliases: dict[str, str] = {}  # where a server answers → the name of its key's file
        self._given: dict[str, str] = {}  # where a server that is not ours answers → its key
        with suppress(OSError):
            for file in folder.iterdir():
                with suppress(OSError, UnicodeDecodeError):
                    self._keys[file.name] = file.read_text().strip()

    def make(self, name: str) -> Path:
        """A new one in a file, for the server that will answer there or that container. Raise
        OSError.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key, file = secrets.token_urlsafe(KEY_BYTES), self._folder / name
        with suppress(FileNotFoundError):
            file.unlink()
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(f"{key}\n")
        self._keys[name] = key
        return file

    def told(self, name: str) -> str:
        """What was made. Raise KeyError."""
        return self._keys[name]

    def names(self) -> Iterable[str]:
        return tuple(self._keys)

    def answers_at(self, authority: str, name: str) -> bool:
        """Whoever has the key of this name answers there now; whether it has one at all."""
        if name not in self._keys:
            self._aliases.pop(authority, None)
            return False
        self._aliases[authority] = name
        return True

    def take(self, url: str, key: str) -> None:
        """What the server at this URL, which somebody else defined, wants to hear."""
        self._given[urlsplit(url).netloc] = key

    def drop(self, name: str) -> None:
        """Nobody answers there any more, or without a key. Dropping twice is not an error."""
        self._aliases.pop(name, None)
        if self._keys.pop(name, None) is not None:
            with suppress(OSError):  # what is left is of no use
                (self._folder / name).unlink()

    def bearer(self, url: str) -> str | None:
        """The value of Authorization for the server at this URL; None where it wants none."""
        if not self._keys and not self._given:
            return None
        authority = urlsplit(url).netloc
        key = self._given.get(authority) or self._keys.get(self._aliases.get(authority, authority))
        return None if key is None else f"Bearer {key}"
