import pytest

from orchestrator.client import operations
from orchestrator.client.errors import DoesNotFit, NotAnswered, NotChosen, TryLater
from orchestrator.client.exchanges import Retries
from orchestrator.client.operations import ONE_LOAD_S, load, order, switch
from orchestrator.web.wire import examples
from tests.unit.client.playing import REFUSED, SILENT, Play, refusal, reply

DONE = reply(examples.LOADED)


def loaded(*heard, wait_s=600.0):
    return Play(load({"model": "a"}, wait_s, Retries()), *heard)


def test_an_order_says_what_was_said():
    assert order("a", None, {}) == {"model": "a"}
    assert order("a", "me", {"pin": True}) == {"model": "a", "owner": "me", "pin": True}
    assert order("a", "me", {"owner": "other"})["owner"] == "other"


def test_a_load_is_waited_for_in_one_request():
    play = loaded(DONE, wait_s=30)
    assert play.result.model == examples.LOADED["model"]
    (ask,) = play.asks
    assert ask.body == {"model": "a", "wait": 30}
    assert ask.timeout_s > 30


def test_a_longer_one_is_joined_again_at_once():
    late = refusal("load_deadline", 503, took_s=240, retry_after_seconds=5)
    play = loaded(late, late, DONE)
    assert [ask.body["wait"] for ask in play.asks] == [ONE_LOAD_S, ONE_LOAD_S, 120]
    assert play.pauses == []


def test_no_longer_than_was_said():
    late = refusal("load_deadline", 503, took_s=10.1)
    assert loaded(late, wait_s=10).error.code == "load_deadline"


def test_no_room_is_asked_again_when_there_can_be_some():
    busy = refusal("no_room", 503, took_s=1, retry_after_seconds=200)
    play = loaded(busy, busy, DONE)
    assert play.pauses == [200, 200]
    assert play.asks[2].body["wait"] == 600 - 2 * 201
    busy = refusal("no_room", 503, retry_after_seconds=700)
    assert isinstance(loaded(busy).error, TryLater)


def test_what_does_not_fit_is_not_waited_for():
    assert isinstance(loaded(refusal("does_not_fit", 507)).error, DoesNotFit)


def test_a_daemon_that_is_away_for_a_moment_is_asked_again():
    assert loaded(REFUSED, REFUSED, DONE).ended
    play = loaded(*[REFUSED] * 4)
    assert isinstance(play.error, NotAnswered)
    assert isinstance(loaded(SILENT).error, NotAnswered)


@pytest.mark.parametrize("wait_s", [0, -1, float("nan")])
def test_no_time_is_no_wait(wait_s):
    assert isinstance(loaded(wait_s=wait_s).error, NotChosen)


def test_a_switch_lets_the_one_before_leave_first():
    play = Play(switch({"model": "b"}, "lease/1", 60, Retries()), reply(status=204), DONE)
    assert play.asks[0].method == "DELETE"
    assert play.asks[0].path == "/leases/lease%2F1"
    assert play.asks[1].body["model"] == "b"
    assert len(Play(switch({"model": "b"}, None, 60, Retries()), DONE).asks) == 1


def test_an_unload_names_its_owner():
    def asked(owner):
        exchange = operations.unload("a", force=False, owner=owner, wait_s=9, retries=Retries())
        play = Play(exchange, reply(examples.UNLOADED))
        assert play.result.freed_mb == examples.UNLOADED["freed_mb"]
        return play.asks[0].body

    assert asked("me") == {"model": "a", "force": False, "wait": 9, "owner": "me"}
    assert "owner" not in asked(None)


def test_what_there_is_to_see():
    assert Play(operations.status(Retries()), reply(examples.STATUS)).result.total_mb == 32768
    assert Play(operations.models(Retries()), reply(examples.CATALOGUE)).result
    assert Play(operations.plan({"model": "a"}, Retries()), reply(examples.PLAN)).result.fits


def test_health_is_asked_once():
    def health(heard):
        return Play(operations.is_healthy("/health"), heard).result

    assert health(reply()) is True
    assert health(refusal("not_ready", 503)) is False
    assert health(REFUSED) is False
