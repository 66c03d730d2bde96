"""Whether the registry is the one that the last run of the daemon wrote.

Every run leaves a mark of its own in the registry and in a file beside it. A registry without the
mark of the file was emptied, or is another one; where there is no file yet, it is a first start.
An older copy is told as well, because its last mark is older.
"""

import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, delete, select

from orchestrator.registry.database import explain
from orchestrator.registry.encoding import instant
from orchestrator.registry.tables import RunRow

MARK_NAME = "registry.id"
# A mark that a full disk did not take beside the registry is still known so many runs later.
RUNS_KEPT_MAX = 100
_MARK_CHARS_MAX = 64  # what is read of the file


def mark_run(engine: Engine, path: Path) -> tuple[str, ...]:
    """Say what became of the registry since the last run, and mark this one. Never raises.

    A disk that refuses the mark is a problem here and not a failure: a daemon must start on it.
    """
    beside = path.with_name(MARK_NAME)
    last, mark = _last(beside), uuid.uuid4().hex
    try:
        with Session(engine) as session:
            known = session.exec(select(RunRow.id).order_by(col(RunRow.began_at).desc())).all()
            session.add(RunRow(id=mark, began_at=instant(datetime.now(UTC))))
            outdated = list(known[RUNS_KEPT_MAX - 1 :])
            session.exec(delete(RunRow).where(col(RunRow.id).in_(outdated)))
            session.commit()
        _write(beside, mark)
    except DBAPIError as error:
        return (str(explain(error.orig, path)),)
    except OSError as error:
        return (f"{beside} cannot be written: {error.strerror or error}.",)
    if last is None or last in known:
        return ()
    return (_ANOTHER if known else _EMPTIED,)


_EMPTIED = (
    f"the registry is empty, although there has been one here before ({MARK_NAME}): it was removed "
    "or emptied since the last run. Models that run are found again; pins, leases and measured "
    "footprints are not: a backup that has them can be put in its place while the orchestrator is "
    "stopped."
)
_ANOTHER = (
    f"the registry is not the one that was written here last ({MARK_NAME}): an older copy, or "
    "another one, was put in its place. What it says of pins, leases and footprints counts from "
    "now on; if that was not meant, put the right one back while the orchestrator is stopped."
)


def _last(beside: Path) -> str | None:
    try:
        with beside.open() as file:
            return file.read(_MARK_CHARS_MAX).strip()
    except (OSError, ValueError):  # a first start; or it says nothing that could be compared
        return None


def _write(beside: Path, mark: str) -> None:
    """Whole or not at all."""
    draft = beside.with_suffix(".tmp")
    with draft.open("w") as file:
        file.write(f"{mark}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(beside)
