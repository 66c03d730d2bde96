"""What callers hear of a model that keeps failing; its course is played in test_scheduler.py."""

from dataclasses import replace

import pytest

from orchestrator.core.life.setbacks import breaker_open
from orchestrator.core.values.decisions import Decide
from orchestrator.core.values.failures import Breaker, Failure, FailureReason
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.key_bounds import KeyBound
from orchestrator.core.values.messages import (
    Checked,
    Deny,
    Died,
    Loaded,
    LoadFailed,
    Stopped,
    Withdrawn,
)
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import Fallback, ModelName, ServiceName, Serving
from orchestrator.core.values.vram import GiB
from tests.factories import ENDPOINT, gpu, request, resident, sampled, scheduler, spec

A = spec("a", gib=8)
NEW = spec("new", gib=20)
LONGER = replace(A, serving=Serving(context_size=8192))
NO_MEMORY = Failure(reason=FailureReason.OUT_OF_MEMORY, detail="out of memory.")


def loading(wanted, *others):
    """Its load is under way; others wait for other settings of it."""
    play = scheduler(gpu(gib=24), wanted)
    play.handle(request(1, wanted), now_s=1.0)
    play.handle(sampled(gpu(gib=24, at_s=1.1)), now_s=1.1)
    for ticket, other in enumerate(others, start=2):
        play.handle(request(ticket, other), now_s=1.2)
    return play


def fail(play, now_s):
    """It runs out of memory, and its bytes are back."""
    there = play.state.ledger.resident(A.name)
    assert there.state is ResidentState.LOADING
    play.handle(LoadFailed(there.instance, NO_MEMORY), now_s=now_s)
    for later_s in (0.1, 0.2):
        play.handle(sampled(gpu(gib=24, at_s=now_s + later_s)), now_s=now_s + later_s)


def wanted_by(play):
    return {wish.request.ticket: wish.request.spec for wish in play.state.queue.wishes()}


def test_what_ran_out_of_memory_changes_no_wish_for_other_settings():
    play = loading(A, LONGER)
    fail(play, 2.0)
    assert wanted_by(play)[1].footprint.raised_bytes
    assert wanted_by(play)[2] == LONGER


def test_lesser_settings_are_for_those_whose_settings_were_too_much():
    less = Fallback(
        serving=Serving(context_size=512),
        footprint=Footprint(device_bytes=GiB),
        given_up=("context 512",),
    )
    play = loading(replace(A, fallbacks=(less,)), LONGER)
    fail(play, 2.0)
    fail(play, 3.0)
    assert wanted_by(play)[1].given_up == ("context 512",)
    assert wanted_by(play)[2] == LONGER


@pytest.mark.parametrize(
    ("remedy", "heard"),
    [
        ("Choose another port.", "Choose another port."),
        ("", "Mend the cause; a changed configuration is tried at once."),
    ],
)
def test_breaker_says_what_helps_against_its_cause(remedy, heard):
    failure = Failure(reason=FailureReason.ARGUMENTS, detail="a port is taken.", remedy=remedy)
    refusal = breaker_open(ModelName("a"), Breaker().after(failure, 1.0), 2.0)
    assert refusal.remedy == heard
    assert refusal.failure == failure


PORT = Failure(reason=FailureReason.PORT, detail="the port is taken.")


@pytest.mark.parametrize("leaves_s", [2.05, 2.5])
def test_a_second_try_is_not_held_against_those_who_come_later(leaves_s):
    """Its caller leaves before it began, or while it loads and the load goes on."""
    play = loading(A)
    (there,) = play.state.ledger.residents
    play.handle(LoadFailed(there.instance, PORT), now_s=2.0)
    for now_s in (2.1, 2.2):
        if leaves_s < now_s:
            play.handle(Withdrawn(1), now_s=leaves_s)
        play.handle(sampled(gpu(gib=24, at_s=now_s)), now_s=now_s)
    if leaves_s == 2.5:
        play.handle(Withdrawn(1), now_s=leaves_s)
        there = play.state.ledger.resident(A.name)
        loaded = Loaded(instance=there.instance, endpoint=ENDPOINT, load_s=1.0)
        play.handle(loaded, now_s=3.0)
    assert not play.state.retried


def test_who_left_for_the_first_try_comes_back_when_the_second_fails():
    old = spec("old", gib=20)
    play = scheduler(gpu(gib=24), replace(resident("old", gib=20), spec=old), old, NEW)
    play.handle(request(1, NEW), now_s=1.0)
    play.handle(Checked(NEW.name, None), now_s=1.0)
    play.handle(Stopped(resident("old", gib=20).instance), now_s=1.1)
    for now_s in (2.0, 3.0):
        for later_s in (0.1, 0.2):
            play.handle(sampled(gpu(gib=24, at_s=now_s + later_s)), now_s=now_s + later_s)
        there = play.state.ledger.resident(NEW.name)
        effects = play.handle(LoadFailed(there.instance, PORT), now_s=now_s + 0.5)
    said = [each.model for each in effects if isinstance(each, Decide)]
    assert said[-1] == "old"
    assert play.state.queue.line(old.name).ours


def test_who_waited_and_needs_more_than_its_quota_after_a_try_hears_so():
    """It had been told why it waits; then there was room, and it ran out of memory."""
    bounds = (KeyBound(9 * GiB, frozenset({"mine"})),)
    used = resident("used", gib=20, leases=1)
    play = scheduler(gpu(gib=24), used, A)
    play.handle(request(1, A, key="mine", bounds=bounds), now_s=1.0)
    assert play.state.queue.line(A.name).explained
    play.handle(Died(used.instance, PORT), now_s=2.0)
    for now_s in (2.1, 2.2):
        play.handle(sampled(gpu(gib=24, at_s=now_s)), now_s=now_s)
    there = play.state.ledger.resident(A.name)
    effects = play.handle(LoadFailed(there.instance, NO_MEMORY), now_s=3.0)
    for now_s in (3.1, 3.2):
        effects += play.handle(sampled(gpu(gib=24, at_s=now_s)), now_s=now_s)
    assert [each.refusal.code for each in effects if isinstance(each, Deny)] == ["over_quota"]


def test_who_waited_and_finds_all_networks_taken_for_good_after_a_try_hears_so():
    play = scheduler(gpu(gib=24), A)
    play.state.networks = {ServiceName("rehearsal"): frozenset({"n1"})}
    play.handle(request(1, A), now_s=1.0)
    play.handle(sampled(gpu(gib=24, at_s=1.1)), now_s=1.1)
    there = play.state.ledger.resident(A.name)
    play.handle(LoadFailed(there.instance, NO_MEMORY), now_s=2.0)
    stays = resident("stays", gib=1)
    play.state.set_pin(stays.name, pinned=True)
    play.state.ledger.put(stays)  # meanwhile, and with the network
    effects = []
    for now_s in (2.1, 2.2, 2.3):
        effects += play.handle(sampled(gpu(gib=24, at_s=now_s)), now_s=now_s)
    (denied,) = [each.refusal for each in effects if isinstance(each, Deny)]
    assert denied.code == "no_room"
    assert "a network of its own" in denied.detail


@pytest.mark.parametrize("left", [True, False])
def test_who_left_for_the_first_try_comes_back_when_there_is_no_second(left):
    """Its caller leaves, or hears that it never will be."""
    old = spec("old", gib=20)
    play = scheduler(gpu(gib=24), replace(resident("old", gib=20), spec=old), old, NEW)
    play.handle(request(1, NEW), now_s=1.0)
    play.handle(Checked(NEW.name, None), now_s=1.0)
    play.handle(Stopped(resident("old", gib=20).instance), now_s=1.1)
    for now_s in (2.1, 2.2):
        play.handle(sampled(gpu(gib=24, at_s=now_s)), now_s=now_s)
    there = play.state.ledger.resident(NEW.name)
    effects = play.handle(LoadFailed(there.instance, NO_MEMORY), now_s=2.5)
    assert play.state.queue.line(NEW.name) is not None
    if left:
        effects = play.handle(Withdrawn(1), now_s=2.6)
    else:
        play.state.set_pin("stays", pinned=True)
        play.state.ledger.put(resident("stays", gib=3))
        for now_s in (2.6, 2.7):
            effects += play.handle(sampled(gpu(gib=24, at_s=now_s)), now_s=now_s)
        assert [each.ticket for each in effects if isinstance(each, Deny)] == [1]
    assert play.state.queue.line(old.name) is not None or play.state.ledger.resident(old.name)
