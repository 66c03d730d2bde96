import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from orchestrator.core.values.residents import ResidentState
from orchestrator.errors import RegistryFailed
from orchestrator.records import OperationState
from orchestrator.registry.migrations import MIGRATIONS, Migration
from orchestrator.registry.runs import MARK_NAME
from orchestrator.registry.sqlite import DATABASE_NAME, SqliteRegistry
from orchestrator.registry.tables import HISTORY_UNWRITTEN_MAX
from tests.unit.registry.children import build_bad_disk, on_bad_disk, outcome, start
from tests.unit.registry.records import (
    ALL,
    NOON,
    after,
    decision,
    finished,
    learned,
    lease,
    operation,
    pin,
    resident,
    running,
)

NEWER = (*MIGRATIONS, Migration(len(MIGRATIONS) + 1, ("CREATE TABLE novelty (name TEXT)",)))


NEVER_S = 3600.0  # on a busy machine a thousand writes take longer than a caller waits


def played(state_dir, acts):
    async def whole():
        registry = SqliteRegistry.open(state_dir, patience_s=NEVER_S)
        try:
            return await acts(registry)
        finally:
            await registry.close()

    return asyncio.run(whole())


def test_makes_its_directory_and_keeps_it_to_its_user(tmp_path):
    state_dir = tmp_path / "deep" / "state"
    played(state_dir, lambda registry: registry.recall())
    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert sorted(part.name for part in state_dir.iterdir()) == ["lock", MARK_NAME, DATABASE_NAME]


def test_remembers_over_a_restart(tmp_path):
    async def before(registry):
        await registry.residents.put(resident("a", running=running()))
        await registry.leases.put(lease("l1", "a"))
        await registry.decisions.put(decision(5))

    played(tmp_path, before)
    memory = played(tmp_path, lambda registry: registry.recall())
    assert memory.residents == (resident("a", running=running()),)
    assert memory.leases == (lease("l1", "a"),)
    assert memory.last_decision_id == 5


def test_reads_what_version_1_has_written(tmp_path):
    """The dump is of a file of that version: the rows of a released one are never edited."""
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as database:
        database.executescript(Path(__file__).with_name("version_1.sql").read_text())

    async def acts(registry):
        memory = await registry.recall()
        assert registry.problems == ()
        assert memory.residents == (resident("a", running=running()),)
        assert memory.leases == (lease("l1", "a"),)
        assert memory.learned == (learned(),)
        assert memory.pins == {"a": True, "b": False}
        assert await registry.operations.all() == (finished("o1", after(1)),)
        assert await registry.page(ALL) == (decision(7, remedy="do é"),)

    played(tmp_path, acts)


def test_what_the_last_daemon_left_unfinished_has_failed(tmp_path):
    played(tmp_path, lambda registry: registry.operations.put(operation("o1")))
    found = played(tmp_path, lambda registry: registry.operations.get("o1"))
    assert found.state is OperationState.FAILED
    assert "restarted" in found.detail


def test_a_second_daemon_on_the_same_directory_refuses_to_start(tmp_path):
    async def acts(registry):
        await registry.pins.put(pin("a", True))
        with pytest.raises(RegistryFailed, match="another orchestrator"):
            SqliteRegistry.open(tmp_path)
        assert (await registry.recall()).pins == {"a": True}

    played(tmp_path, acts)
    played(tmp_path, acts)


def test_an_opening_that_fails_gives_the_directory_back(tmp_path):
    asyncio.run(SqliteRegistry.open(tmp_path, NEWER).close())
    for _ in range(2):
        with pytest.raises(RegistryFailed, match="newer"):
            SqliteRegistry.open(tmp_path)
    asyncio.run(SqliteRegistry.open(tmp_path, NEWER).close())


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RegistryFailed, match=r"file/state cannot be made"):
        SqliteRegistry.open(tmp_path / "file" / "state")


def test_a_row_that_cannot_be_read_is_said_once(tmp_path):
    async def before(registry):
        for name in ("a", "b"):
            await registry.residents.put(resident(name))

    played(tmp_path, before)
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as other:
        other.execute("UPDATE residents SET record = '?' WHERE instance = 'a-1'")
        other.commit()

    async def after(registry):
        assert registry.problems == ()
        assert (await registry.recall()).residents == (resident("b"),)
        await registry.recall()
        assert len(registry.problems) == 1
        await registry.residents.put(resident("a"))  # what runs is written again, and all is well
        assert (await registry.recall()).residents == (resident("a"), resident("b"))

    played(tmp_path, after)


def test_a_damaged_file_is_put_aside_and_the_daemon_starts(tmp_path):
    (tmp_path / DATABASE_NAME).write_bytes(b"no database" * 1_000)

    async def acts(registry):
        assert "kept as registry.sqlite.broken-" in registry.problems[0]
        await registry.residents.put(resident("a"))

    played(tmp_path, acts)
    assert played(tmp_path, lambda registry: registry.recall()).residents == (resident("a"),)


WRITER = """
import asyncio, sys
from pathlib import Path
from orchestrator.registry.sqlite import SqliteRegistry
from tests.unit.registry.records import decision, resident

async def main():
    registry = SqliteRegistry.open(Path(sys.argv[1]))
    for number in range(200):
        await registry.residents.put(resident(f"m{number}"))
        print(number, flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@pytest.mark.parametrize("heard", [1, 40, 120])
def test_kill_9_in_the_middle_of_writing_loses_nothing_that_was_acknowledged(tmp_path, heard):
    with start(WRITER, tmp_path) as child:
        acknowledged = [child.stdout.readline() for _ in range(heard)]
        child.kill()
        acknowledged += child.stdout.readlines()
        child.wait()
    count = sum(line.endswith("\n") for line in acknowledged)
    assert heard <= count <= 200
    memory = played(tmp_path, lambda registry: registry.recall())
    assert memory.residents[:count] == tuple(resident(f"m{number}") for number in range(count))
    assert len(memory.residents) - count <= 1  # written, and killed before it could say so


FAULTY = """
import asyncio, json, sys
from pathlib import Path
from orchestrator.registry.sqlite import SqliteRegistry
from tests.unit.registry.records import pin

async def main():
    registry = SqliteRegistry.open(Path(sys.argv[1]))
    mood = Path(sys.argv[2])
    acknowledged, refused = [], []
    for number in range(60):
        mood.write_text(sys.stdin.readline()[0] if number % 20 == 0 else mood.read_text())
        if await registry.pins.put(pin(f"m{number}", True)):
            acknowledged.append(number)
        else:
            refused.append(registry.problem)
        known = (await registry.recall()).pins
    problem = registry.problem
    await registry.retry()
    await registry.close()
    print(json.dumps([acknowledged, refused, len(known), problem, registry.problem]))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("mood", "cause"),
    [("f", "The disk is full: free some space"), ("b", "The disk does not obey")],
    ids=["full", "broken"],
)
def test_a_disk_that_refuses_is_told_and_the_same_connection_goes_on(tmp_path, mood, cause):
    child = on_bad_disk(FAULTY, build_bad_disk(tmp_path), tmp_path)
    child.stdin.write(f".\n{mood}\n.\n")
    child.stdin.flush()
    acknowledged, refusals, known, problem, after = json.loads(outcome(child))
    assert acknowledged == [*range(20), *range(40, 60)]
    assert len(refusals) == 20
    assert all(cause in refusal for refusal in refusals)
    assert known == 60, "also what is not written is read"
    assert "20 changes are kept" in problem
    assert after is None
    memory = played(tmp_path / "state", lambda registry: registry.recall())
    assert sorted(memory.pins) == sorted(f"m{number}" for number in range(60))


LIMITED = """
import asyncio, json, resource, sys
from pathlib import Path
from orchestrator.registry.sqlite import SqliteRegistry
from tests.unit.registry.records import decision, resident

async def main():
    registry = SqliteRegistry.open(Path(sys.argv[1]), patience_s=3600.0)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    for number in range(400):
        await registry.residents.put(resident(f"m{number}"))
        await registry.decisions.put(decision(number + 1))
    problem = registry.problem
    await registry.retry()
    still = registry.problem
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await registry.retry()
    print(json.dumps([problem, still, registry.problem]))
    await registry.close()

asyncio.run(main())
"""


def test_no_caller_fails_while_the_file_may_not_grow_and_nothing_is_lost_after(tmp_path):
    problem, still, after = json.loads(outcome(start(LIMITED, tmp_path)))
    assert "changes are kept until the disk takes them" in problem
    assert "changes are kept until the disk takes them" in still
    assert after is None
    memory = played(tmp_path, lambda registry: registry.recall())
    assert {one.resident.name for one in memory.residents} == {f"m{n}" for n in range(400)}
    history = played(tmp_path, lambda registry: registry.page(ALL))
    assert [one.id for one in history] == list(range(400, 0, -1))


async def disk(registry, *, sound):
    """SQLite itself refuses what is written, as it does on a disk that may only be read."""
    await registry._commits.alone(
        lambda session: session.exec(text(f"PRAGMA query_only = {int(not sound)}"))
    )


def test_nobody_fails_for_a_full_disk_and_everything_is_written_when_it_recovers(tmp_path):
    async def acts(registry):
        await disk(registry, sound=False)
        await registry.residents.put(resident("a", ResidentState.LOADING))
        await registry.residents.put(resident("a"))
        await registry.leases.put(lease("l1", "a"))
        await registry.learned.put(learned())
        await registry.pins.put(pin("a", True))
        await registry.operations.put(operation("o1"))
        await registry.decisions.put(decision(1))
        assert "6 changes are kept until the disk takes them, and the work goes on." in (
            registry.problem
        )
        await disk(registry, sound=True)
        await registry.retry()
        assert registry.problem is None
        memory = await registry.recall()
        assert memory.residents == (resident("a"),)
        assert memory.leases == (lease("l1", "a"),)
        assert memory.learned == (learned(),)
        assert memory.pins == {"a": True}
        assert await registry.operations.get("o1") == operation("o1")
        assert await registry.page(ALL) == (decision(1),)

    played(tmp_path, acts)


def test_what_is_not_written_can_be_read(tmp_path):
    async def acts(registry):
        await registry.decisions.put(decision(1))
        await registry.operations.put(operation("o1"))
        await disk(registry, sound=False)
        await registry.decisions.put(decision(2, "b"))
        await registry.decisions.put(decision(3))
        await registry.operations.put(finished("o1", NOON))
        assert [one.id for one in await registry.page(ALL)] == [3, 2, 1]
        assert [one.id for one in await registry.page(replace(ALL, limit=2))] == [3, 2]
        assert [one.id for one in await registry.page(replace(ALL, after_id=1))] == [2, 3]
        assert [one.id for one in await registry.page(replace(ALL, model="a"))] == [3, 1]
        assert await registry.operations.get("o1") == finished("o1", NOON)

    played(tmp_path, acts)


def test_a_resident_that_left_while_the_disk_was_full_is_forgotten_with_its_leases(tmp_path):
    async def acts(registry):
        await registry.residents.put(resident("a"))
        await disk(registry, sound=False)
        await registry.leases.put(lease("l1", "a"))
        await registry.residents.drop("a-1")
        await registry.residents.put(resident("b"))
        await disk(registry, sound=True)
        await registry.retry()
        memory = await registry.recall()
        assert (memory.residents, memory.leases) == ((resident("b"),), ())
        assert registry.problem is None

    played(tmp_path, acts)


def test_a_lease_that_was_released_meanwhile_does_not_come_back(tmp_path):
    async def acts(registry):
        await registry.residents.put(resident("a"))
        await disk(registry, sound=False)
        await registry.leases.put(lease("l1", "a"))
        await registry.leases.drop("l1")
        await disk(registry, sound=True)
        await registry.retry()
        assert (await registry.recall()).leases == ()

    played(tmp_path, acts)


def test_a_pruning_that_was_refused_is_done_later(tmp_path):
    async def acts(registry):
        await registry.decisions.put(decision(1))
        await registry.decisions.put(decision(2))
        await disk(registry, sound=False)
        assert await registry.prune(before=after(1), keep_decisions=9) == 0
        await disk(registry, sound=True)
        await registry.retry()
        assert [one.id for one in await registry.page(ALL)] == [2]
        assert registry.problem is None

    played(tmp_path, acts)


def test_history_beyond_its_bound_is_given_up_oldest_first_and_counted(tmp_path):
    async def acts(registry):
        await disk(registry, sound=False)
        said = [decision(id_) for id_ in range(1, HISTORY_UNWRITTEN_MAX + 4)]
        assert not any(await asyncio.gather(*map(registry.decisions.put, said)))
        await registry.residents.put(resident("a"))
        assert registry._commits.given_up == 3
        assert "3 older ones were given up" in registry.problem
        await disk(registry, sound=True)
        await registry.retry()
        assert registry.problem is None
        assert (await registry.recall()).residents == (resident("a"),)
        oldest = await registry.page(replace(ALL, after_id=0, limit=1))
        assert oldest == (decision(4),)

    played(tmp_path, acts)


def test_a_write_that_succeeds_clears_nothing_that_still_waits(tmp_path):
    async def acts(registry):
        await disk(registry, sound=False)
        await registry.pins.put(pin("a", True))
        await disk(registry, sound=True)
        await registry.pins.put(pin("b", True))
        assert "1 changes" in registry.problem

    played(tmp_path, acts)


def test_a_lease_of_an_unknown_resident_waits_for_it(tmp_path):
    async def acts(registry):
        assert not await registry.leases.put(lease("l1", "a"))
        assert "FOREIGN KEY" in registry.problem
        await registry.residents.put(resident("a"))
        await registry.retry()
        assert registry.problem is None
        assert (await registry.recall()).leases == (lease("l1", "a"),)

    played(tmp_path, acts)
