import json

import pytest

from orchestrator.web.live.cache import BODY_AGE_S_MAX, Board
from tests.unit.web.desk import FakeDesk, resident, spec


@pytest.fixture
def desk():
    return FakeDesk()


def test_unchanged_status_is_encoded_once(desk):
    board = Board(desk)
    assert board.status() is board.status()


def test_change_is_seen_by_the_next_reader(desk):
    board = Board(desk)
    before = json.loads(board.status())
    desk.residents["a"] = resident(spec("a"))
    desk.changed()
    assert before["loaded_models"] == {}
    assert list(json.loads(board.status())["loaded_models"]) == ["a"]


def test_clock_of_an_unchanged_status_goes_on(desk):
    board = Board(desk)
    before = json.loads(board.status())["now"]
    desk.now_s += 2 * BODY_AGE_S_MAX
    assert json.loads(board.status())["now"] > before


def test_models_are_encoded_anew_when_something_changes(desk):
    board = Board(desk)
    before = board.models()
    assert board.models() is before
    desk.residents["a"] = resident(spec("a"))
    desk.changed()
    assert json.loads(board.models())["data"][0]["state"] == "loaded"
