import asyncio
import json
import sqlite3
from contextlib import closing

import pytest

from orchestrator.errors import RegistryFailed
from orchestrator.ports import OperationState
from orchestrator.registry.migrations import MIGRATIONS, Migration
from orchestrator.registry.sqlite import DATABASE_NAME, SqliteRegistry
from tests.unit.registry.children import build_bad_disk, on_bad_disk, outcome, start
from tests.unit.registry.records import ALL, decision, lease, operation, resident, running

NEWER = (*MIGRATIONS, Migration(len(MIGRATIONS) + 1, ("CREATE TABLE novelty (name TEXT)",)))


def played(state_dir, acts):
    async def whole():
        registry = SqliteRegistry.open(state_dir)
        try:
            return await acts(registry)
        finally:
            await registry.close()

    return asyncio.run(whole())


def test_makes_its_directory_and_keeps_it_to_its_user(tmp_path):
    state_dir = tmp_path / "deep" / "state"
    played(state_dir, lambda registry: registry.recall())
    assert state_dir.stat().st_mode & 0o777 == 0o700
    assert sorted(part.name for part in state_dir.iterdir()) == ["lock", DATABASE_NAME]


def test_remembers_over_a_restart(tmp_path):
    async def before(registry):
        await registry.put_resident(resident("a", running=running()))
        await registry.put_lease(lease("l1", "a"))
        await registry.add_decision(decision(5))

    played(tmp_path, before)
    memory = played(tmp_path, lambda registry: registry.recall())
    assert memory.residents == (resident("a", running=running()),)
    assert memory.leases == (lease("l1", "a"),)
    assert memory.last_decision_id == 5


def test_what_the_last_daemon_left_unfinished_has_failed(tmp_path):
    played(tmp_path, lambda registry: registry.put_operation(operation("o1")))
    found = played(tmp_path, lambda registry: registry.operation("o1"))
    assert found.state is OperationState.FAILED
    assert "restarted" in found.detail


def test_a_second_daemon_on_the_same_directory_refuses_to_start(tmp_path):
    async def acts(registry):
        await registry.put_pin("a", pinned=True)
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
            await registry.put_resident(resident(name))

    played(tmp_path, before)
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as other:
        other.execute("UPDATE residents SET record = '?' WHERE instance = 'a-1'")
        other.commit()

    async def after(registry):
        assert registry.problems == ()
        assert (await registry.recall()).residents == (resident("b"),)
        await registry.recall()
        assert len(registry.problems) == 1
        await registry.put_resident(resident("a"))  # what runs is written again, and all is well
        assert (await registry.recall()).residents == (resident("a"), resident("b"))

    played(tmp_path, after)


def test_a_damaged_file_is_put_aside_and_the_daemon_starts(tmp_path):
    (tmp_path / DATABASE_NAME).write_bytes(b"no database" * 1_000)

    async def acts(registry):
        assert "kept as registry.sqlite.broken-" in registry.problems[0]
        await registry.put_resident(resident("a"))

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
        await registry.put_resident(resident(f"m{number}"))
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
from orchestrator.errors import RegistryFailed
from orchestrator.registry.sqlite import SqliteRegistry

async def main():
    registry = SqliteRegistry.open(Path(sys.argv[1]))
    mood = Path(sys.argv[2])
    acknowledged, refused = [], []
    for number in range(60):
        mood.write_text(sys.stdin.readline()[0] if number % 20 == 0 else mood.read_text())
        try:
            await registry.put_pin(f"m{number}", True)
            acknowledged.append(number)
        except RegistryFailed as failed:
            refused.append(str(failed))
        known = (await registry.recall()).pins
    await registry.close()
    print(json.dumps([acknowledged, sorted(set(refused)), len(known)]))

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
    acknowledged, refusals, known = json.loads(outcome(child))
    assert acknowledged == [*range(20), *range(40, 60)]
    assert len(refusals) == 1
    assert cause in refusals[0]
    assert known == 40
    memory = played(tmp_path / "state", lambda registry: registry.recall())
    assert sorted(memory.pins) == sorted(f"m{number}" for number in acknowledged)


LIMITED = """
import asyncio, json, resource, sys
from pathlib import Path
from orchestrator.registry.durable import SteadyRegistry
from orchestrator.registry.sqlite import SqliteRegistry
from tests.unit.registry.records import decision, resident

async def main():
    registry = SteadyRegistry(SqliteRegistry.open(Path(sys.argv[1])))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    for number in range(400):
        await registry.put_resident(resident(f"m{number}"))
        await registry.add_decision(decision(number + 1))
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
    history = played(tmp_path, lambda registry: registry.decisions(**ALL))
    assert [one.id for one in history] == list(range(400, 0, -1))
