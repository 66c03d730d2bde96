import asyncio
import json
import threading
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import event, text

from orchestrator.errors import RegistryFailed
from orchestrator.registry.commits import TOGETHER_MAX, Commits, Write
from orchestrator.registry.database import open_database
from orchestrator.registry.migrations import MIGRATIONS
from tests.pace import crowd
from tests.unit.registry.children import build_bad_disk, on_bad_disk, outcome

NEVER_S = 3600.0


@pytest.fixture
def play(tmp_path):
    path = tmp_path / "registry.sqlite"

    def run(acts, **limits):
        async def whole():
            engine, _ = open_database(path, MIGRATIONS)
            commits = Commits(engine, path, **{"patience_s": NEVER_S} | limits)
            try:
                await acts(commits)
            finally:
                await commits.close()

        asyncio.run(whole())

    return run


def pin(name, key=None, tries=None, pinned=1):
    def act(session):
        if tries is not None:
            tries.append(name)
        session.exec(
            text("INSERT INTO pins VALUES (:name, :pinned)").bindparams(name=name, pinned=pinned)
        )

    return Write("pins", key or name, pinned, act, unwritten_max=3)


def pins(session):
    return [row[0] for row in session.exec(text("SELECT model FROM pins ORDER BY rowid"))]


async def disk(commits, *, sound):
    """SQLite itself refuses what is written, as it does on a disk that may only be read."""
    await commits.alone(lambda session: session.exec(text(f"PRAGMA query_only = {int(not sound)}")))


@asynccontextmanager
async def hanging(commits):
    """A disk that answers nothing while the block lasts."""
    answers = threading.Event()
    with_it = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(_session):
        loop.call_soon_threadsafe(with_it.set)
        return answers.wait()

    stuck = asyncio.ensure_future(commits.alone(wait))
    await with_it.wait()
    try:
        yield
    finally:
        answers.set()
        assert await stuck


def test_answers_a_reading_with_its_own_answer(play):
    async def acts(commits):
        asked = (commits.alone(lambda _session, number=number: number) for number in range(9))
        assert await asyncio.gather(*asked) == list(range(9))

    play(acts)


def test_performs_in_the_order_asked(play):
    async def acts(commits):
        names = [f"m{number}" for number in range(3 * TOGETHER_MAX)]
        writes = [asyncio.ensure_future(commits.write(pin(name))) for name in names]
        await asyncio.sleep(0)
        assert await commits.alone(pins) == names
        assert await asyncio.gather(*writes) == [True] * len(names)
        assert (commits.problem, commits.unwritten("pins")) == (None, {})

    play(acts)


def test_what_is_written_in_one_turn_of_the_loop_is_one_commit(tmp_path):
    async def acts():
        engine, _ = open_database(tmp_path / "registry.sqlite", MIGRATIONS)
        counted = []
        event.listen(engine, "commit", counted.append)
        commits = Commits(engine, tmp_path / "registry.sqlite")
        await asyncio.gather(*(commits.write(pin(name)) for name in "abc"))
        together = len(counted)
        await commits.close()
        return together

    assert asyncio.run(acts()) == 1


def test_a_refused_row_takes_no_other_with_it(play):
    async def acts(commits):
        rows = ["first", "a", "a", 1 << 70, object(), "b"]
        writes = [commits.write(pin(name, key=number)) for number, name in enumerate(rows, 1)]
        assert await asyncio.gather(*writes) == [True, True, False, False, False, True]
        assert "3 changes are kept" in commits.problem
        assert await commits.alone(pins) == ["first", "a", "b"]

    play(acts)


def test_a_mistake_reaches_its_maker_and_is_not_tried_again(play):
    def mistaken(_session):
        raise LookupError("mine")

    async def acts(commits):
        with pytest.raises(LookupError, match="mine"):
            await commits.alone(mistaken)
        with pytest.raises(LookupError, match="mine"):
            await commits.write(Write("pins", "x", 1, mistaken, unwritten_max=3))
        assert (commits.problem, commits.unwritten("pins")) == (None, {})
        await commits.write(pin("a"))
        assert await commits.alone(pins) == ["a"]

    play(acts)


def test_a_caller_that_is_cancelled_loses_the_answer_and_not_the_write(play):
    async def acts(commits):
        write = asyncio.ensure_future(commits.write(pin("a")))
        await asyncio.sleep(0)
        write.cancel()
        assert await commits.alone(pins) == ["a"]
        assert write.cancelled()
        assert commits.unwritten("pins") == {}

    play(acts)


def test_a_disk_that_is_far_behind_refuses_more_and_takes_it_later(play):
    async def acts(commits):
        writes = [asyncio.ensure_future(commits.write(pin(f"m{number}"))) for number in range(6)]
        assert await asyncio.gather(*writes) == [True] * 3 + [False] * 3
        assert "3 writes behind" in commits.problem
        await commits.retry()
        assert await commits.alone(pins) == [f"m{number}" for number in range(6)]
        async with hanging(commits):
            waiting = [asyncio.ensure_future(commits.alone(pins)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(RegistryFailed, match="3 writes behind"):
                await commits.alone(pins)
        await asyncio.gather(*waiting)

    play(acts, waiting_max=3)


def test_what_is_refused_is_kept_and_tried_again(play):
    async def acts(commits):
        await disk(commits, sound=False)
        assert not await commits.write(pin("a"))
        await commits.retry()
        assert commits.unwritten("pins") == {"a": 1}
        assert "Make the file and its directory writable. 1 changes are kept" in commits.problem
        await disk(commits, sound=True)
        await commits.retry()
        assert await commits.alone(pins) == ["a"]
        assert (commits.problem, commits.unwritten("pins")) == (None, {})

    play(acts)


def test_only_the_newest_of_a_key_is_tried_again(play):
    async def acts(commits):
        await disk(commits, sound=False)
        for name in ("old", "older", "newest"):
            await commits.write(pin(name, key="a"))
        await disk(commits, sound=True)
        await commits.retry()
        assert await commits.alone(pins) == ["newest"]

    play(acts)


def test_an_older_write_that_fails_late_does_not_come_back(play):
    async def acts(commits):
        async with hanging(commits):
            older = asyncio.ensure_future(commits.write(pin(1 << 70, key="a")))
            newer = asyncio.ensure_future(commits.write(pin("newer", key="a")))
            await asyncio.sleep(0)
        assert (await older, await newer) == (False, True)
        assert (commits.problem, commits.unwritten("pins")) == (None, {})

    play(acts)


def test_what_need_not_be_written_any_more_is_not_tried_again(play):
    async def acts(commits):
        await disk(commits, sound=False)
        await commits.write(pin("a"))
        commits.forget("pins", "a")
        assert commits.problem is None
        await disk(commits, sound=True)
        await commits.retry()
        assert await commits.alone(pins) == []

    play(acts)


def test_a_disk_that_hangs_keeps_no_caller_waiting(play):
    async def acts(commits):
        tries = []
        async with hanging(commits):
            assert not await commits.write(pin("a", tries=tries))
            assert "has not answered for 0.05 s. 1 changes" in commits.problem
            await commits.retry()  # it is queued already: again would only lengthen the queue
        assert await commits.alone(pins) == ["a"]
        assert (tries, commits.problem, commits.unwritten("pins")) == (["a"], None, {})

    play(acts, patience_s=0.05)


def test_beyond_their_number_the_oldest_are_given_up_and_counted(play):
    async def acts(commits):
        await disk(commits, sound=False)
        for name in "abcde":
            await commits.write(pin(name))
        assert list(commits.unwritten("pins")) == ["c", "d", "e"]
        assert commits.given_up == 2
        assert "2 older ones were given up" in commits.problem

    play(acts)


def test_a_retry_asks_a_broken_disk_no_more_than_it_must(play):
    async def acts(commits):
        tries, count = [], TOGETHER_MAX + 5
        await disk(commits, sound=False)
        writes = [pin(f"m{number}", tries=tries) for number in range(count)]
        for write in writes:
            write.unwritten_max = count
        await asyncio.gather(*map(commits.write, writes))
        tries.clear()
        await commits.retry()
        assert tries == ["m0"], "the first refusal ends a commit"
        await disk(commits, sound=True)
        await commits.retry()
        assert len(await commits.alone(pins)) == count

    play(acts)


def test_closing_tries_a_last_time_and_later_writes_are_refused(play):
    async def acts(commits):
        await disk(commits, sound=False)
        await commits.write(pin("a"))
        unread = commits.alone(lambda session: session.exec(text("PRAGMA query_only = 0")))
        await asyncio.gather(unread, commits.close())
        assert commits.problem is None
        assert not await commits.write(pin("b"))
        assert "closed" in commits.problem

    play(acts)


SLOW = """
import asyncio, json, sys, time
from pathlib import Path
from orchestrator.registry.sqlite import SqliteRegistry
from tests.unit.registry.records import pin

async def main():
    registry = SqliteRegistry.open(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text("s")
    loop = asyncio.get_running_loop()
    gaps = []

    async def tick():
        last = loop.time()
        while True:
            await asyncio.sleep(0.001)
            gaps.append(loop.time() - last)
            last = loop.time()

    ticking = asyncio.create_task(tick())
    began = loop.time()
    await asyncio.gather(*(registry.pins.put(pin(f"m{n}", True)) for n in range(50)))
    took_s = loop.time() - began
    ticking.cancel()
    Path(sys.argv[2]).write_text(" ")
    await registry.close()
    print(json.dumps({"took_s": took_s, "gaps_s": sorted(gaps)}))

asyncio.run(main())
"""


def test_a_slow_disk_delays_its_writers_together_and_the_loop_not_at_all(tmp_path):
    child = on_bad_disk(SLOW, build_bad_disk(tmp_path), tmp_path, slow_ms=700)
    seen = json.loads(outcome(child))
    assert 0.7 <= seen["took_s"] < 2.8 * crowd()  # one commit: two would take twice as long
    gaps_s = seen["gaps_s"]
    assert gaps_s[len(gaps_s) // 2] < 0.010 * crowd()
    assert (
        gaps_s[-1] < 0.35 * crowd()
    )  # half a sync: what this busy machine does to any process is less
