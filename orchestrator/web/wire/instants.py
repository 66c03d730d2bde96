"""How instants look on the wire: RFC 3339, in UTC, to the millisecond."""

from datetime import UTC, datetime


def instant(at_s: float) -> str:
    at = datetime.fromtimestamp(at_s, UTC)
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def instant_or_none(at_s: float | None) -> str | None:
    return None if at_s is None else instant(at_s)


def moment(at: datetime) -> str:
    return instant(at.timestamp())
