"""Instants on the wire."""

from datetime import UTC, datetime

import pytest

from orchestrator.web.wire.instants import dated, dated_or_none, instant, instant_or_none, moment
from tests.unit.wall_clock import set_by


def test_instants_are_utc_to_the_millisecond():
    assert instant(1.5) == "1970-01-01T00:00:01.500Z"
    assert instant_or_none(None) is None
    assert moment(datetime(2026, 1, 15, 10, 30, tzinfo=UTC)) == "2026-01-15T10:30:00.000Z"


def test_instants_of_the_steady_clock_are_told_by_the_wall_clock_and_dates_stay(monkeypatch):
    set_by(monkeypatch, 3600)
    at = datetime.fromisoformat(instant(0.0)).timestamp()
    assert at == pytest.approx(3600, abs=0.1)
    assert datetime.fromisoformat(instant_or_none(1.0)).timestamp() == pytest.approx(
        at + 1, abs=0.1
    )
    assert dated(1.5) == "1970-01-01T00:00:01.500Z"
    assert dated_or_none(None) is None
    assert moment(datetime(2026, 1, 15, 10, 30, tzinfo=UTC)) == "2026-01-15T10:30:00.000Z"
