"""The last look: who is to leave is asked first whether it is idle, and the answer decides."""

from dataclasses import replace

import pytest

from orchestrator.core.life.evictions import LOOK_S_MAX
from orchestrator.core.values.decisions import Decide
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.messages import (
    AskUse,
    CatalogueChanged,
    Checked,
    Deny,
    Died,
    Evict,
    Finish,
    Grant,
    PinChanged,
    Recovered,
    Released,
    Remember,
    RulesChanged,
    Sampled,
    ShutdownBegan,
    Ticked,
    UseAnswered,
    UseSeen,
    Withdrawn,
)
from orchestrator.core.values.residents import ResidentState, UseAnswer
from orchestrator.core.values.specs import ModelName, Serving
from orchestrator.core.values.tickets import UnloadStatus
from orchestrator.core.values.vram import GiB
from tests.factories import (
    answered,
    gpu,
    request,
    resident,
    rules,
    sampled,
    scheduler,
    spec,
    unload,
    unreadable,
)

S = ResidentState
NEW = spec("new", gib=20)


def play_of(*parts, **changes):
    return scheduler(gpu(gib=24), *parts, changes=changes, servers_answer=False)


def state_of(play, name):
    there = play.state.ledger.resident(ModelName(name))
    return there and there.state


def asked(effects):
    (one,) = (effect for effect in effects if isinstance(effect, AskUse))
    return one


def evicted(effects):
    return [effect.resident.name for effect in effects if isinstance(effect, Evict)]


def of(kind, effects):
    return [effect for effect in effects if isinstance(effect, kind)]


def wanted(*there, new=NEW, at_s=0.5, **wish):
    """Those who are there fill the card, and a caller has just asked for `new`."""
    play = play_of(*there, new)
    play.handle(request(1, new, **wish), now_s=at_s)
    return play, play.handle(Checked(new.name, None), now_s=at_s)


# --- for a newcomer ------------------------------------------------------------------------------


def test_a_victim_is_asked_and_goes_in_the_call_that_hears_it_is_idle():
    play, effects = wanted(resident("old", gib=20))
    assert evicted(effects) == []
    assert [each.name for each in asked(effects).residents] == ["old"]
    assert state_of(play, "old") is S.DRAINING, "nothing new is granted on it meanwhile"
    effects = play.handle(answered(asked(effects)), now_s=0.502)
    (evict,) = of(Evict, effects)
    assert evict.asked
    assert not evict.force


def test_what_is_intended_is_written_before_it_is_asked():
    """So its stop does not wait for the disk after its answer."""
    _, effects = wanted(resident("old", gib=20))
    written = [each.resident.state for each in of(Remember, effects) if each.resident.name == "old"]
    assert written == [S.DRAINING]
    assert effects.index(asked(effects)) > effects.index(
        next(each for each in of(Remember, effects) if each.resident.name == "old")
    )


def test_a_victim_that_turns_out_to_be_busy_is_not_stopped():
    play, effects = wanted(resident("old", gib=20))
    effects = play.handle(answered(asked(effects), old=True), now_s=0.502)
    assert evicted(effects) == []
    assert state_of(play, "old") is S.READY
    assert state_of(play, "new") is None
    assert len(play.state.queue) == 1, "its caller waits on"
    assert "turned out to be in use" in of(Decide, effects)[0].text


@pytest.mark.parametrize(("of_the_other", "then"), [(1, S.READY), (9, S.DRAINING)])
def test_a_drain_ends_with_the_caller_whose_priority_it_takes(of_the_other, then):
    play, _ = wanted(resident("old", gib=20, leases=1), priority=9)
    play.handle(request(2, NEW, priority=of_the_other), now_s=1.0)
    assert state_of(play, "old") is S.DRAINING
    play.handle(Withdrawn(1), now_s=2.0)
    assert state_of(play, "old") is then


@pytest.mark.parametrize(("who_leaves", "then"), [((1,), S.DRAINING), ((1, 2), S.READY)])
def test_a_drain_ends_with_the_last_caller_who_has_waited_long_enough(who_leaves, then):
    play, _ = wanted(resident("old", gib=20, leases=1))
    play.handle(request(2, NEW), now_s=1.0)
    play.handle(request(3, NEW), now_s=100.0)
    play.handle(Ticked(), now_s=110.0)
    assert state_of(play, "old") is S.DRAINING, "two of them are due"
    for ticket in who_leaves:
        play.handle(Withdrawn(ticket), now_s=111.0)
    assert state_of(play, "old") is then


@pytest.mark.parametrize(
    "meanwhile",
    [
        sampled(gpu(gib=24, used_gib=16 + 6, at_s=1.0)),
        sampled(unreadable(at_s=1.0)),
        RulesChanged(rules=rules(), headroom_bytes=0, budget_bytes=18 * GiB),
    ],
    ids=["others take the room", "its device cannot be read", "the budget becomes smaller"],
)
def test_a_drain_ends_that_would_be_in_vain(meanwhile):
    play, _ = wanted(resident("old", gib=16, leases=1), priority=9)
    assert state_of(play, "old") is S.DRAINING
    play.handle(meanwhile, now_s=1.0)
    assert state_of(play, "old") is S.READY
    assert state_of(play, "new") is None


def test_nobody_is_asked_to_leave_before_it_is_known_whose_bytes_are_taken():
    """Of a server that was found a moment ago some may be its."""
    play = play_of(resident("old", gib=4), NEW)
    play.handle(sampled(gpu(gib=24, used_gib=4 + 12, at_s=1.0)), now_s=1.0)
    play.handle(Recovered((resident("late", gib=1),)), now_s=1.1)
    play.handle(request(1, NEW), now_s=1.2)
    play.handle(Checked(NEW.name, None), now_s=1.3)
    assert state_of(play, "new") is None
    assert state_of(play, "old") is state_of(play, "late") is S.READY
    play.handle(sampled(gpu(gib=24, used_gib=5, at_s=2.0)), now_s=2.0)
    play.handle(Checked(NEW.name, None), now_s=2.1)
    assert state_of(play, "new") is S.RESERVED
    assert state_of(play, "late") is S.DRAINING


def test_another_one_leaves_where_the_first_turns_out_to_be_busy():
    new = spec("new", gib=10)
    play, effects = wanted(
        resident("a", gib=12, used_s=0), resident("b", gib=12, used_s=0.4), new=new
    )
    assert [each.name for each in asked(effects).residents] == ["a"]
    effects = play.handle(answered(asked(effects), a=True), now_s=0.502)
    assert [each.name for each in asked(effects).residents] == ["b"]
    assert evicted(play.handle(answered(asked(effects)), now_s=0.504)) == ["b"]
    assert state_of(play, "a") is S.READY


def test_a_more_important_wish_lets_it_finish_and_asks_again():
    play, effects = wanted(resident("old", gib=20, priority=4))
    effects = play.handle(answered(asked(effects), old=True), now_s=0.502)
    assert state_of(play, "old") is S.DRAINING, "it serves what it has begun, and nothing new"
    effects = play.handle(seen(play, "old", busy=False), now_s=2.5)
    assert evicted(effects) == []
    assert evicted(play.handle(answered(asked(effects)), now_s=2.502)) == ["old"]


def seen(play, name, *, busy, used=False):
    there = play.state.ledger.resident(ModelName(name))
    return UseSeen(instance=there.instance, busy=busy, used=used)


def test_all_victims_are_asked_at_once_and_go_together():
    play, effects = wanted(resident("a", gib=12), resident("b", gib=12))
    assert [each.name for each in asked(effects).residents] == ["a", "b"]
    assert sorted(evicted(play.handle(answered(asked(effects)), now_s=0.502))) == ["a", "b"]


def test_none_goes_where_one_of_them_is_busy():
    play, effects = wanted(resident("a", gib=12), resident("b", gib=12))
    effects = play.handle(answered(asked(effects), b=True), now_s=0.502)
    assert evicted(effects) == []
    assert state_of(play, "a") is state_of(play, "b") is S.READY


def test_use_since_the_plan_protects_the_more_important():
    """It is idle again, but was used a moment ago: R7 holds."""
    play, effects = wanted(resident("old", gib=20, priority=9), at_s=1000)
    (old,) = asked(effects).residents
    told = UseAnswered(asked(effects).look, {old.instance: UseAnswer(busy=False, used=True)})
    effects = play.handle(told, now_s=1000.002)
    assert evicted(effects) == []
    assert state_of(play, "old") is S.READY
    assert play.state.ledger.resident(old.name).last_used_s == 1000.002


def test_use_since_the_plan_does_not_protect_an_equal():
    play, effects = wanted(resident("old", gib=20))
    (old,) = asked(effects).residents
    told = UseAnswered(asked(effects).look, {old.instance: UseAnswer(busy=False, used=True)})
    assert evicted(play.handle(told, now_s=0.502)) == ["old"], "or short requests would bar others"


# --- who does not answer -------------------------------------------------------------------------


def test_who_does_not_answer_is_as_it_was_last_seen_and_that_is_said():
    play, effects = wanted(resident("old", gib=20))
    (old,) = asked(effects).residents
    silence = UseAnswer(busy=None, unanswered="no answer within 3.5 s")
    effects = play.handle(UseAnswered(asked(effects).look, {old.instance: silence}), now_s=4.0)
    assert evicted(effects) == ["old"]
    assert "no answer within 3.5 s" in of(Decide, effects)[0].text


def test_who_was_seen_busy_meanwhile_and_does_not_answer_stays():
    play, effects = wanted(resident("old", gib=20))
    look = asked(effects)
    (old,) = look.residents
    play.handle(seen(play, "old", busy=True), now_s=1.0)
    silence = UseAnswer(busy=None, unanswered="no answer within 3.5 s")
    effects = play.handle(UseAnswered(look.look, {old.instance: silence}), now_s=4.0)
    assert evicted(effects) == []
    assert state_of(play, "old") is S.READY


def test_who_was_seen_busy_since_it_was_asked_is_asked_anew():
    """Nobody knows which of the two was read first: the answer, or what was seen."""
    play, effects = wanted(resident("old", gib=20, priority=4))
    play.handle(answered(asked(effects), old=True), now_s=0.502)
    look = asked(play.handle(seen(play, "old", busy=False), now_s=2.5))
    play.handle(seen(play, "old", busy=True), now_s=2.6)
    effects = play.handle(answered(look, old=False), now_s=2.7)
    assert evicted(effects) == []
    assert evicted(play.handle(answered(asked(effects), old=False), now_s=2.8)) == ["old"]


def test_an_unload_also_asks_anew_who_was_seen_busy_since_it_was_asked():
    play = play_of(resident("old", gib=20))
    look = asked(play.handle(unload(1, "old"), now_s=0.5))
    play.handle(seen(play, "old", busy=True), now_s=0.6)
    effects = play.handle(answered(look, old=False), now_s=0.7)
    assert evicted(effects) == []
    assert evicted(play.handle(answered(asked(effects), old=False), now_s=0.8)) == ["old"]


def test_an_engine_that_cannot_tell_is_believed_idle_without_a_word():
    play, effects = wanted(resident("old", gib=20))
    effects = play.handle(answered(asked(effects), old=None), now_s=0.5)
    assert evicted(effects) == ["old"]
    assert not [each for each in of(Decide, effects) if "did not say" in each.text]


def test_a_look_that_nobody_answers_ends_by_itself():
    play, _ = wanted(resident("old", gib=20))
    assert evicted(play.handle(Ticked(), now_s=LOOK_S_MAX)) == []
    assert evicted(play.handle(Ticked(), now_s=0.5 + LOOK_S_MAX)) == ["old"]


def test_an_answer_to_an_earlier_look_says_nothing_about_now():
    play, effects = wanted(resident("old", gib=20))
    first = asked(effects)
    play.handle(Withdrawn(1), now_s=0.6)
    assert state_of(play, "old") is S.READY, "its newcomer's caller has left"
    play.handle(request(2, NEW), now_s=0.7)
    second = asked(play.handle(Checked(NEW.name, None), now_s=0.7))
    assert evicted(play.handle(answered(first), now_s=0.8)) == []
    assert evicted(play.handle(answered(second), now_s=0.9)) == ["old"]


# --- for an unload, other settings, its time -----------------------------------------------------


def test_an_unload_waits_for_a_client_that_nobody_had_seen():
    play = play_of(resident("a", gib=8))
    effects = play.handle(unload(1, "a", by_s=30), now_s=1.0)
    assert evicted(effects) == []
    effects = play.handle(answered(asked(effects), a=True), now_s=1.002)
    assert state_of(play, "a") is S.DRAINING
    effects = play.handle(seen(play, "a", busy=False), now_s=3.0)
    assert evicted(play.handle(answered(asked(effects)), now_s=3.002)) == ["a"]


def test_an_unload_is_refused_where_that_client_does_not_finish():
    play = play_of(resident("a", gib=8))
    play.handle(answered(asked(play.handle(unload(1, "a", by_s=30), now_s=1.0)), a=True), now_s=1.0)
    (denied,) = of(Deny, play.handle(Ticked(), now_s=30.0))
    assert "reaches its server directly" in denied.refusal.detail
    assert state_of(play, "a") is S.READY


def test_an_owner_that_unloads_hears_that_others_use_the_model():
    play = play_of(resident("a", gib=8))
    effects = play.handle(unload(1, "a", by_s=30, owner="workflow"), now_s=1.0)
    (finished,) = of(Finish, play.handle(answered(asked(effects), a=True), now_s=1.002))
    assert finished.status is UnloadStatus.RELEASED
    assert state_of(play, "a") is S.READY


@pytest.mark.parametrize("busy", [True, False])
def test_a_model_whose_time_is_over_is_asked(busy):
    play = play_of(replace(resident("a", gib=8), ttl_s=30))
    effects = play.handle(answered(asked(play.handle(Ticked(), now_s=31)), a=busy), now_s=31)
    assert evicted(effects) == ([] if busy else ["a"])
    assert state_of(play, "a") is (S.READY if busy else S.UNLOADING)


def test_a_model_whose_time_is_over_and_that_is_asked_for_meanwhile_stays():
    there = replace(resident("a", gib=8), ttl_s=30)
    play = play_of(there, there.spec)
    look = asked(play.handle(Ticked(), now_s=31))
    (granted,) = of(
        Grant, play.handle(request(1, there.spec), now_s=31) + play.handle(answered(look), now_s=31)
    )
    assert granted.resident.instance == there.instance


@pytest.mark.parametrize("busy", [True, False])
def test_a_model_with_other_settings_is_asked(busy):
    there = resident("a", gib=8)
    other = replace(there.spec, asked=Serving(context_size=8192))
    play = play_of(there, there.spec)
    play.handle(request(1, other), now_s=1)
    look = asked(play.handle(Checked(other.name, None), now_s=1))
    effects = play.handle(answered(look, a=busy), now_s=1)
    assert evicted(effects) == ([] if busy else ["a"])
    assert state_of(play, "a") is (S.READY if busy else S.UNLOADING)
    assert len(play.state.queue) == 1


# --- while the answer is on its way --------------------------------------------------------------


def test_those_who_are_idle_go_in_the_order_of_their_answers():
    """So a history that is lived through again is the same in each process."""
    names = [f"old-{number:02}" for number in range(20)]
    play, effects = wanted(*(resident(name, gib=1.2) for name in names), new=spec("new", gib=23.5))
    for ticket, name in enumerate(names, start=2):
        play.handle(unload(ticket, name), now_s=0.6)
    assert evicted(play.handle(answered(asked(effects)), now_s=0.7)) == names


def test_a_pin_keeps_it():
    play, effects = wanted(resident("old", gib=20))
    look = asked(effects)
    (denied,) = of(Deny, play.handle(PinChanged(ModelName("old"), pinned=True), now_s=0.6))
    assert "pinned" in denied.refusal.detail
    assert evicted(play.handle(answered(look), now_s=0.7)) == []
    assert state_of(play, "old") is S.READY


def test_force_does_not_wait_for_it():
    play, effects = wanted(resident("old", gib=20))
    look = asked(effects)
    assert evicted(play.handle(unload(2, "old", force=True), now_s=0.6)) == ["old"]
    assert evicted(play.handle(answered(look, old=True), now_s=0.7)) == []


def test_an_unload_shares_the_look_of_a_newcomer():
    play, effects = wanted(resident("old", gib=20))
    look = asked(effects)
    assert of(AskUse, play.handle(unload(2, "old"), now_s=0.6)) == []
    assert evicted(play.handle(answered(look), now_s=0.7)) == ["old"]


def test_its_death_ends_the_look():
    play, effects = wanted(resident("old", gib=20))
    look = asked(effects)
    (old,) = look.residents
    died = Died(old.instance, Failure(reason=FailureReason.EXITED, detail="it ended."))
    play.handle(died, now_s=0.6)
    assert evicted(play.handle(answered(look), now_s=0.7)) == []
    play.handle(Sampled([gpu(gib=24, at_s=0.8)], {}), now_s=0.8)
    assert state_of(play, "new") is S.LOADING


def test_a_warm_request_meanwhile_waits_for_the_answer():
    play, effects = wanted(resident("old", gib=20))
    old = play.state.ledger.resident(ModelName("old")).spec
    assert of(Grant, play.handle(request(2, old), now_s=0.501)) == []
    effects = play.handle(answered(asked(effects), old=True), now_s=0.502)
    assert [each.ticket for each in of(Grant, effects)] == [2], "it stays, and serves"


def test_a_shutdown_keeps_it():
    """Its newcomer's caller was refused: nobody wants its room any more."""
    play, effects = wanted(resident("old", gib=20))
    look = asked(effects)
    play.handle(ShutdownBegan(stop_residents=False), now_s=0.6)
    assert state_of(play, "new") is None
    assert evicted(play.handle(answered(look), now_s=0.7)) == []
    assert state_of(play, "old") is S.READY


def test_a_newcomer_that_is_taken_out_of_the_catalogue_gives_its_room_up():
    play, effects = wanted(resident("old", gib=20))
    play.handle(CatalogueChanged({}), now_s=0.6)
    assert evicted(play.handle(answered(asked(effects)), now_s=0.7)) == []
    assert state_of(play, "old") is S.READY


def test_only_who_was_asked_goes_without_waiting_for_the_disk():
    """A victim that others started again while the plan was made was not asked: it loads."""
    play, effects = wanted(resident("a", gib=12), resident("b", gib=12))
    look = asked(effects)
    (b,) = (each for each in look.residents if each.name == "b")
    died = Died(b.instance, Failure(reason=FailureReason.EXITED, detail="it ended."))
    play.handle(died, now_s=0.6)
    again = replace(b, state=S.LOADING, look=None, leaving=(), unpromised=True)
    play.handle(Recovered([again]), now_s=0.65)
    gone = {
        each.resident.name: each.asked for each in of(Evict, play.handle(answered(look), now_s=0.7))
    }
    assert gone == {"a": True, "b": False}


def test_a_victim_that_others_started_again_is_asked_like_the_others():
    """It was gone, came back as the same life, and its room is promised: it is taken aside."""
    one, two = resident("one", gib=10), resident("two", gib=10, leases=1)
    play, _ = wanted(one, two, priority=9)
    assert (state_of(play, "one"), state_of(play, "two")) == (S.DRAINING, S.DRAINING)
    play.handle(Recovered((one,), why="others started it again"), now_s=1.0)
    assert state_of(play, "one") is S.READY
    (held,) = play.state.leases
    look = asked(play.handle(Released(held), now_s=2.0))
    assert state_of(play, "one") is S.DRAINING
    assert evicted(play.handle(answered(look), now_s=2.1)) == ["one", "two"]
