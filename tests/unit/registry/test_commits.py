import asyncio
import json

import pytest
from sqlalchemy import text

from orchestrator.errors import RegistryFailed
from orchestrator.registry.commits import TOGETHER_MAX, Commits
from orchestrator.registry.database import open_database
from orchestrator.registry.migrations import MIGRATIONS
from tests.unit.registry.children import build_bad_disk, on_bad_disk, outcome


@pytest.fixture
def play(tmp_path):
    path = tmp_path / "registry.sqlite"

    def run(acts, **limits):
        async def whole():
            engine, _ = open_database(path, MIGRATIONS)
            commits = Commits(engine, path, **limits)
            try:
                await acts(commits)
            finally:
                await commits.close()

        asyncio.run(whole())

    return run


def pin(name, note=None):
    def act(session):
        if note is not None:
            note()
        session.exec(text("INSERT INTO pins VALUES (:name, 1)").bindparams(name=name))
        return name

    return act


def pins(session):
    return [row[0] for row in session.exec(text("SELECT model FROM pins ORDER BY rowid"))]


def test_answers_each_with_its_own_answer(play):
    async def acts(commits):
        assert await asyncio.gather(*(commits.write(pin(f"m{n}")) for n in range(9))) == [
            f"m{n}" for n in range(9)
        ]

    play(acts)


def test_performs_in_the_order_asked(play):
    async def acts(commits):
        names = [f"m{number}" for number in range(3 * TOGETHER_MAX)]
        writes = [asyncio.ensure_future(commits.write(pin(name))) for name in names]
        await asyncio.sleep(0)
        assert await commits.read(pins) == names
        assert all(write.done() for write in writes)

    play(acts)


def test_a_refused_row_takes_no_other_with_it(play):
    async def acts(commits):
        first = commits.write(pin("first"))
        writes = [first, *(commits.write(pin(name)) for name in ("a", "a", 1 << 70, object(), "b"))]
        answers = await asyncio.gather(*writes, return_exceptions=True)
        refused = [type(answer) is RegistryFailed for answer in answers]
        assert refused == [False, False, True, True, True, False]
        assert await commits.read(pins) == ["first", "a", "b"]

    play(acts)


def test_a_mistake_reaches_whoever_made_it(play):
    def mistaken(_session):
        raise LookupError("mine")

    async def acts(commits):
        with pytest.raises(LookupError, match="mine"):
            await commits.write(mistaken)
        await commits.write(pin("a"))
        assert await commits.read(pins) == ["a"]

    play(acts)


def test_a_caller_that_is_cancelled_loses_the_answer_and_not_the_write(play):
    async def acts(commits):
        write = asyncio.ensure_future(commits.write(pin("a")))
        await asyncio.sleep(0)
        write.cancel()
        assert await commits.read(pins) == ["a"]
        assert write.cancelled()

    play(acts)


def test_a_disk_that_is_far_behind_refuses_more(play):
    async def acts(commits):
        writes = [asyncio.ensure_future(commits.write(pin(f"m{number}"))) for number in range(6)]
        answers = await asyncio.gather(*writes, return_exceptions=True)
        # The first is with the disk, three wait.
        assert [type(answer) for answer in answers] == [str] * 4 + [RegistryFailed] * 2
        assert "3 writes behind" in str(answers[-1])

    play(acts, waiting_max=3)


SLOW = """
import asyncio, json, sys, time
from pathlib import Path
from orchestrator.registry.sqlite import SqliteRegistry

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
    await asyncio.gather(*(registry.put_pin(f"m{n}", True) for n in range(50)))
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
    # The first write is on its way alone, the other 49 follow it together.
    assert 1.4 <= seen["took_s"] < 3.5
    gaps_s = seen["gaps_s"]
    assert gaps_s[len(gaps_s) // 2] < 0.010
    assert gaps_s[-1] < 0.35  # half a sync: what this busy machine does to any process is less
