import pytest

from orchestrator.web.app import WAITING_MAX
from orchestrator.web.live.places import Places, too_many_connections
from orchestrator.web.wire.error_answers import Answered, raw_answer
from tests.unit.web.office import APP


def test_one_too_many_is_refused_and_places_come_back():
    places = Places(2)
    with places.one():
        with places.one():
            with pytest.raises(Answered) as refused, places.one():
                pass
            assert refused.value.answer.status == 503
            assert refused.value.answer.remedy
        with places.one():
            assert places.taken == 2
    assert places.taken == 0


def test_a_connection_too_many_hears_the_one_error_body():
    head, _, body = raw_answer(too_many_connections(7)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Connection: close" in head
    assert b'"code":"too_many_callers"' in body


def test_a_load_that_finds_no_place_is_not_begun(office):
    APP.state.places.most = 0
    try:
        answer = office.asked("POST", "/models/load", json={"model": "a"})
        assert (answer.status_code, answer.json()["code"]) == (503, "too_many_callers")
        assert answer.headers["connection"] == "close"
        assert office.loaded() == {}
        accepted = office.asked("POST", "/models/load", json={"model": "a", "wait": False})
        assert accepted.status_code == 202
    finally:
        APP.state.places.most = WAITING_MAX
