"""A wall clock that was set after the steady one began."""

import time

import pytest

from orchestrator.wall import WALL


def set_by(monkeypatch: pytest.MonkeyPatch, ahead_s: float) -> None:
    """For the length of a test."""
    monkeypatch.setattr(WALL, "_wall", lambda: time.time() + ahead_s)
