import pytest

from orchestrator.client.errors import LeaseLost, NotUnderstood, TryLater
from orchestrator.client.exchanges import Retries
from orchestrator.client.leases import (
    HeldLease,
    hold_model,
    hold_room,
    model_order,
    releasing,
    renewing,
    room_order,
    some_owner,
)
from orchestrator.web.wire import examples
from tests.unit.client.playing import REFUSED, SILENT, Play, refusal, reply

RENEWED = reply({"lease_id": "l-1", "owner": "me", "expires_at": "2026-01-15T10:50:00.000Z"})


def lease(lease_s=60.0):
    return HeldLease(lease_id="l/1", owner="me", lease_s=lease_s, expires_at=None, path="/leases")


def test_no_two_holders_are_called_alike():
    assert some_owner() != some_owner()


def test_a_model_is_held_by_an_owner_in_any_case():
    assert model_order("a", "me", 60, {}) == {"model": "a", "owner": "me", "lease_seconds": 60}
    assert model_order("a", None, 60, {})["owner"]
    assert model_order("a", "me", 60, {"owner": "other"})["owner"] == "other"


def test_an_order_for_room_says_what_was_said():
    assert room_order(8, "me", 60, device=None, priority=3) == {
        "vram_mb": 8, "owner": "me", "ttl_seconds": 60, "priority": 3,
    }  # fmt: skip


def test_a_model_is_held():
    told = {**examples.LOADED, "lease_id": "l-1", "expires_at": "2026-01-15T10:40:00.000Z"}
    play = Play(hold_model(model_order("a", "me", 60, {}), 30, Retries()), reply(told))
    held = play.result
    assert (held.lease_id, held.owner, held.lease_s) == ("l-1", "me", 60)
    assert (held.model, held.endpoint) == (told["model"], told["endpoint"])
    held.check()


def test_a_load_without_a_lease_is_none():
    play = Play(hold_model(model_order("a", "me", 60, {}), 30, Retries()), reply(examples.LOADED))
    assert isinstance(play.error, NotUnderstood)


def test_room_is_held():
    order = room_order(8192, "comfyui", 600)
    play = Play(hold_room(order, 30, Retries()), reply(examples.ROOM, 201))
    assert play.result.vram_mb == examples.ROOM["vram_mb"]
    assert play.asks[0].body == order | {"wait": 30}
    busy = refusal("no_room", 503, retry_after_seconds=900)
    assert isinstance(Play(hold_room(order, 30, Retries()), busy).error, TryLater)


def test_it_is_renewed_three_times_in_its_life():
    held = lease()
    play = Play(renewing(held), RENEWED, RENEWED)
    assert play.pauses == [20, 20, 20]
    assert {(ask.method, ask.path) for ask in play.asks} == {("PUT", "/leases/l%2F1")}
    assert play.asks[0].body == {"ttl_seconds": 60}
    assert held.expires_at.year == 2026


def test_a_daemon_that_is_away_is_asked_until_it_is_back():
    held = lease()
    away = [REFUSED, SILENT, refusal("shutting_down", 503)]
    play = Play(renewing(held), *away * 20, RENEWED)
    assert not play.ended
    assert held.lost is None
    assert play.pauses[1:4] == [0.2, 0.4, 0.8]
    assert max(play.pauses) == 20


def test_pauses_are_short_for_a_short_lease():
    play = Play(renewing(lease(0.3)), *[REFUSED] * 9)
    assert max(play.pauses) == pytest.approx(0.1)
    assert play.asks[0].timeout_s == pytest.approx(0.1)


def test_a_lease_that_is_gone_is_lost():
    held = lease()
    play = Play(renewing(held), RENEWED, refusal("not_found", 404))
    assert play.result is held.lost
    with pytest.raises(LeaseLost, match="not_found"):
        held.check()


def test_an_answer_that_says_nothing_keeps_nothing():
    held = lease()
    assert Play(renewing(held), reply({})).ended
    assert held.lost


@pytest.mark.parametrize(
    "heard", [[reply(status=204)], [REFUSED, REFUSED], [refusal("not_found", 404)]]
)
def test_giving_back_never_fails(heard):
    play = Play(releasing(lease()), *heard)
    assert play.ended
    assert play.error is None
    assert play.asks[0].method == "DELETE"
