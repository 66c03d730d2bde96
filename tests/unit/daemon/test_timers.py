"""Jobs by the clock: started, not started twice, stopped."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta

from orchestrator.daemon import timers
from orchestrator.daemon.timers import Job, Periodic
from tests.asynchronous import eventually, run
from tests.pace import crowd

EVERY_S = 0.02


def test_jobs_run_again_and_again_until_they_are_stopped():
    async def scene():
        turns = []

        async def act():
            turns.append(1)

        periodic = Periodic(Job("count", EVERY_S, act))
        assert turns == []
        periodic.start()
        await eventually(lambda: len(turns) >= 3)
        periodic.stop()
        await asyncio.sleep(0)
        count = len(turns)
        await asyncio.sleep(5 * EVERY_S)
        assert len(turns) <= count + 1, "a turn that was due when it was stopped may still come"

    run(scene())


def test_a_job_that_takes_long_is_not_started_beside_itself(caplog):
    async def scene():
        running, most, turns = 0, 0, 0

        async def act():
            nonlocal running, most, turns
            running += 1
            most = max(most, running)
            await asyncio.sleep(5 * EVERY_S)
            running -= 1
            turns += 1

        periodic = Periodic(Job("slow", EVERY_S, act))
        periodic.start()
        await eventually(lambda: turns >= 2)
        periodic.stop()
        assert most == 1
        await eventually(lambda: running == 0)

    run(scene())


def test_a_job_that_fails_has_its_next_turn_and_harms_no_other(caplog):
    async def scene():
        failed, done = [], []

        async def fail():
            failed.append(1)
            raise RuntimeError("by itself")

        async def act():
            done.append(1)

        periodic = Periodic(Job("fails", EVERY_S, fail), Job("works", EVERY_S, act))
        periodic.start()
        await eventually(lambda: len(failed) >= 2 and len(done) >= 2)
        periodic.stop()

    run(scene())
    assert "by itself" in caplog.text


def test_a_job_that_is_stopped_at_work_has_not_failed(caplog):
    async def scene():
        began, never = [], asyncio.Event()

        async def act():
            began.append(1)
            await never.wait()

        periodic = Periodic(Job("slow", EVERY_S, act))
        periodic.start()
        await eventually(lambda: bool(began))
        periodic.stop()
        await asyncio.sleep(0.05)

    run(scene())
    assert "Traceback" not in caplog.text
    # The library may say of a crowded machine that the next turn was left out.
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


def test_a_job_that_is_stopped_before_it_began_has_not_failed(caplog):
    async def scene():
        begun = []

        async def act():
            begun.append(1)

        periodic = Periodic(Job("late", EVERY_S, act))
        periodic.start()
        submit = periodic._jobs._lookup_executor("default")._do_submit_job

        def submit_and_stop(job, times):
            periodic.stop()
            submit(job, times)

        periodic._jobs._lookup_executor("default")._do_submit_job = submit_and_stop
        await asyncio.sleep(3 * EVERY_S)
        assert begun == []

    run(scene())
    assert caplog.records == []


def test_jobs_go_on_when_the_wall_clock_is_set_back(monkeypatch, caplog):
    """As it is then: what is due next is due in an hour."""
    monkeypatch.setattr(timers, "LOOK_S", 0.02)

    async def scene():
        turns, set_back_s = [], 0.0

        async def act():
            turns.append(1)

        periodic = Periodic(Job("count", EVERY_S, act), wall=lambda: time.time() - set_back_s)
        periodic.start()
        await eventually(lambda: bool(turns))
        for job in periodic._jobs.get_jobs():
            job.modify(next_run_time=job.next_run_time + timedelta(hours=1))
        await asyncio.sleep(0.1)
        count = len(turns)
        set_back_s = 3600.0
        await eventually(lambda: len(turns) > count)
        periodic.stop()

    run(scene())
    assert caplog.messages == ["the wall clock was set by -3600 s"]


def test_a_wall_clock_that_is_set_by_days_delays_no_turn():
    """As it is then: the next turn was due two days ago, and so were eight million since."""

    async def scene():
        turns = []

        async def act():
            turns.append(1)

        periodic = Periodic(Job("count", EVERY_S, act))
        periodic.start()
        await eventually(lambda: bool(turns))
        (job,) = periodic._jobs.get_jobs()
        job.modify(next_run_time=job.next_run_time - timedelta(days=2))
        began, count = time.monotonic(), len(turns)
        await eventually(lambda: len(turns) > count + 3)
        assert time.monotonic() - began < 2 * crowd()
        assert len(turns) < count + 100, "what was missed is one turn"
        periodic.stop()

    run(scene())


def test_turns_stay_in_step_though_some_are_missed():
    every = timers._Every(seconds=0.2)
    began = datetime(2026, 1, 15, 16, 36, 35, tzinfo=UTC)
    due = every.get_next_fire_time(began, began + timedelta(seconds=0.75))
    assert due == began + timedelta(seconds=0.8)
    assert every.get_next_fire_time(began, began) == began + timedelta(seconds=0.2)
    late = began - timedelta(hours=1)
    assert every.get_next_fire_time(began, late) == began + timedelta(seconds=0.2)


def test_each_job_says_when_it_last_ran_and_will_again():
    async def scene():
        turns = []

        async def act():
            turns.append(1)
            if len(turns) == 2:
                raise ValueError("it broke off")

        periodic = Periodic(Job("count", EVERY_S, act), Job("later", 3600.0, act))
        assert [run.last_at for run in periodic.runs()] == [None, None]
        periodic.start()
        await eventually(lambda: periodic.runs()[0].last_error)
        count, later = periodic.runs()
        assert (count.name, count.every_s, count.last_error) == (
            "count", EVERY_S, "ValueError('it broke off')",
        )  # fmt: skip
        assert count.last_s is not None
        assert later.last_at is None
        assert later.next_at is not None
        await eventually(lambda: periodic.runs()[0].last_error == "")
        periodic.stop()

    run(scene())
