import json

import pytest

from orchestrator.web.live.cache import BODY_AGE_S_MAX, Board


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
