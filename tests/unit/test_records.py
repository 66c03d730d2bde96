from orchestrator.records import Page
from tests.unit.registry.records import decision

HISTORY = [decision(id_, "a" if id_ % 2 else "b") for id_ in (3, 1, 2, 5, 4)]


def ids(**question):
    return [record.id for record in Page(**question).of(HISTORY)]


def test_a_page_goes_backwards_from_the_newest():
    assert ids(limit=9) == [5, 4, 3, 2, 1]
    assert ids(limit=2) == [5, 4]
    assert ids(limit=2, before_id=4) == [3, 2]


def test_a_page_goes_forwards_after_an_id():
    assert ids(limit=2, after_id=2) == [3, 4]
    assert ids(limit=9, after_id=1, before_id=4) == [2, 3]


def test_a_page_keeps_to_one_model():
    assert ids(limit=2, model="a") == [5, 3]
    assert ids(limit=2, model="nobody") == []


def test_no_limit_of_a_page_is_taken_for_endless():
    assert ids(limit=0) == ids(limit=-1) == []
