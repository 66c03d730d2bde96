"""Requests under way and the figures of those that have ended, in memory."""

import timeit

import pytest

from orchestrator.desk.activity import BATCH_MAX, NUMBERS_SKIPPED, RECENT_MAX, Activity, record
from orchestrator.records import Outcome, Usage


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def activity(clock):
    return Activity(clock)


def begin(activity, asked="a", **more):
    return activity.begin(asked, protocol="openai", path="/v1/x", client="127.0.0.1", **more)


def test_one_request_from_its_beginning_to_its_end(activity, clock):
    run = begin(activity, owner="me", streaming=True, priority=7)
    assert activity.running == (run,)
    activity.waits(run, "a waits for its load")
    clock.now_s += 3
    activity.granted(run, "a", "a-1", load_s=2.0)
    clock.now_s += 1
    activity.first_byte(run)
    clock.now_s += 1
    activity.end(run, Outcome.ANSWERED, 200, Usage(3, 5, 10.0))
    kept = record(run)
    assert activity.running == ()
    assert (kept.wait_s, kept.load_s, kept.first_byte_s) == (3, 2.0, 4)
    assert (kept.tokens_in, kept.tokens_out, kept.outcome) == (3, 5, Outcome.ANSWERED)
    assert (kept.ended_at - kept.began_at).total_seconds() == 5


def test_only_the_first_end_counts(activity):
    run = begin(activity)
    activity.end(run, Outcome.CLIENT_GONE)
    activity.end(run, Outcome.ANSWERED, 200)
    assert (run.outcome, activity.ended) == (Outcome.CLIENT_GONE, 1)


def test_an_operator_ends_a_request(activity):
    run, ended = begin(activity), []
    run.cancel = lambda: ended.append(run)
    assert activity.cancel(run.id)
    assert ended == [run]
    activity.end(run, Outcome.FAILED, 503)
    assert run.outcome is Outcome.ENDED
    assert not activity.cancel(run.id)
    assert not activity.cancel(12345)


def test_one_that_was_answered_nevertheless_was_answered(activity):
    run = begin(activity)
    run.cancel = lambda: None
    activity.cancel(run.id)
    activity.end(run, Outcome.ANSWERED, 200)
    assert run.outcome is Outcome.ANSWERED


def test_of_many_the_newest_are_kept_and_the_others_counted(activity):
    for _ in range(RECENT_MAX + 5):
        activity.end(begin(activity), Outcome.ANSWERED, 200)
    drained = activity.drain()
    assert len(drained) == BATCH_MAX
    assert drained[-1].id == RECENT_MAX + 5
    assert len(activity.recent) == RECENT_MAX
    assert activity.missed == RECENT_MAX + 5 - BATCH_MAX
    assert activity.drain() == ()


def test_numbers_go_on_after_a_restart(activity):
    activity.go_on_after(17)
    assert begin(activity).id == 17 + NUMBERS_SKIPPED + 1


def test_every_change_is_seen_by_those_who_watch(activity):
    versions = [activity.version]
    run = begin(activity)
    versions.append(activity.version)
    activity.waits(run, "why")
    versions.append(activity.version)
    activity.end(run, Outcome.REFUSED, 503)
    versions.append(activity.version)
    assert versions == sorted(set(versions))


def test_a_warm_request_does_not_notice(activity):
    def once():
        activity.end(begin(activity), Outcome.ANSWERED, 200)

    empty_s = min(timeit.repeat(lambda: [None for _ in range(100)], number=100, repeat=5)) / 100
    assert min(timeit.repeat(once, number=1000, repeat=5)) / 1000 < 20 * max(empty_s, 1e-6)
