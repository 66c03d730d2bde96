"""The table of API keys as nginx is told it: digests and bounds, never a key.

A first line that says whether keys are needed at all, then one for every secret that is valid. The
same text lies in a file, for an nginx that starts while no daemon runs.
"""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator.access.keys.record import EVERY_MODEL, ApiKey, KeyScope
from orchestrator.access.keys.table import KeyTable

FILE, FILE_MODE = "keys", 0o640


def text_of(table: KeyTable) -> str:
    lines = [line for key in table.keys.values() for line in _lines(table, key)]
    head = {"closed": table.closed, "generation": table.generation, "secrets": len(lines)}
    return "".join(f"{line}\n" for line in (json.dumps(head), *lines))


def _lines(table: KeyTable, key: ApiKey) -> Iterator[str]:
    if key.revoked_s is not None:
        return
    said = {
        "id": key.id,
        # One with a ceiling of tokens is let in by the daemon alone, also where an older nginx does
        # not know `asks`.
        "use": KeyScope.USE in key.granted and key.max_tokens is None,
        "asks": key.max_tokens is not None,
        "models": None if key.models == EVERY_MODEL else key.models,
        "max_priority": key.max_priority,
        "per_minute": key.requests_per_minute,
        "burst": key.burst,
        "in_flight": key.max_in_flight,
        "networks": key.networks or None,
        "makers": [
            {"id": one.id, "per_minute": one.requests_per_minute, "burst": one.burst}
            for one in table.makers(key)
        ],
    }
    yield _line(key.digest, {**said, "ends_s": key.expires_s})
    if key.former is not None:
        ends = [key.former.ends_s, key.expires_s]
        least_s = min(end_s for end_s in ends if end_s is not None)
        yield _line(key.former.digest, {**said, "ends_s": least_s})


def _line(digest: str, said: dict[str, object]) -> str:
    return f"{base64.b64encode(bytes.fromhex(digest)).decode()} {json.dumps(said)}"


def write(folder: Path, text: str, name: str = FILE) -> None:
    """In one step: an nginx that starts meanwhile reads this one or the one of before.

    Where it cannot be written there is none afterwards: an older one would let in who was revoked
    since. Raise OSError.
    """
    path, beside = folder / name, folder / f"{name}.new"
    try:
        with suppress(FileNotFoundError):
            beside.unlink()
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(fd, "w") as file:
            with suppress(PermissionError):  # to the group of the folder, if it is one of ours
                os.fchown(fd, -1, folder.stat().st_gid)
            os.fchmod(fd, FILE_MODE)
            file.write(text)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
