"""Instants on the wire."""

from datetime import UTC, datetime

from orchestrator.web.wire.instants import instant, instant_or_none, moment


def test_instants_are_utc_to_the_millisecond():
    assert instant(1.5) == "1970-01-01T00:00:01.500Z"
    assert instant_or_none(None) is None
    assert moment(datetime(2026, 1, 15, 10, 30, tzinfo=UTC)) == "2026-01-15T10:30:00.000Z"
