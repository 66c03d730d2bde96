import json

import pytest

from orchestrator.records import Outcome
from orchestrator.web.live.cache import (
    BODY_AGE_S_MAX,
    ENDED_TOLD_MAX,
    RUNNING_TOLD_MAX,
    Board,
)


@pytest.fixture
def board(office):
    return Board(office.desk)


def load(office):
    office.asked("POST", "/models/load", json={"model": "a"})


def test_unchanged_status_is_encoded_once(board):
    assert board.status() is board.status()


def test_change_is_seen_by_the_next_reader(office, board):
    before = json.loads(board.status())
    load(office)
    assert before["loaded_models"] == {}
    assert list(json.loads(board.status())["loaded_models"]) == ["a"]


def test_clock_of_an_unchanged_status_goes_on(office, board):
    before = json.loads(board.status())["now"]
    office.pass_s(5 * BODY_AGE_S_MAX)
    assert json.loads(board.status())["now"] > before


def test_models_are_encoded_anew_when_something_changes(office, board):
    before = board.models()
    assert board.models() is before
    load(office)
    assert json.loads(board.models())["data"][0]["state"] == "loaded"


def test_requests_are_encoded_anew_when_one_changes_and_only_the_newest(office, board):
    activity = office.desk.activity
    runs = [
        activity.begin("a", protocol="openai", path="/v1/chat/completions", client="::1")
        for _ in range(RUNNING_TOLD_MAX + 1)
    ]
    before = board.requests()
    assert board.requests() is before
    told = json.loads(before)
    assert told["running_total"] == RUNNING_TOLD_MAX + 1
    assert [each["id"] for each in told["running"]] == [run.id for run in reversed(runs[1:])]
    for run in runs:
        activity.end(run, Outcome.ANSWERED, 200)
    told = json.loads(board.requests())
    assert told["running"] == []
    assert [each["id"] for each in told["ended"]] == [
        run.id for run in reversed(runs[-ENDED_TOLD_MAX:])
    ]
