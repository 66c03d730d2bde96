"""How instants look on the wire: RFC 3339, in UTC, to the millisecond."""

from datetime import UTC, datetime

from orchestrator.wall import WALL


def instant(at_s: float) -> str:
    """Of the clock that the daemon decides by, told by the wall clock as it is set now."""
    return dated(WALL.told(at_s))


def instant_or_none(at_s: float | None) -> str | None:
    return None if at_s is None else instant(at_s)


def moment(at: datetime) -> str:
    return dated(at.timestamp())


def dated(wall_s: float) -> str:
    """Of the wall clock itself: of files, keys, and what was written down with a date."""
    at = datetime.fromtimestamp(wall_s, UTC)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def dated_or_none(wall_s: float | None) -> str | None:
    return None if wall_s is None else dated(wall_s)
