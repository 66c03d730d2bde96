"""SQLite's own loop: the N-th write or sync fails, N = 1, 2, … until the play ends without one."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.pace import crowd
from tests.unit.registry.children import build_bad_disk, on_bad_disk

SHARED = Path("/dev/shm")
PLAY = """
import asyncio, ctypes, json, shutil, sqlite3, sys
from pathlib import Path
from orchestrator.core.values.specs import ModelName
from orchestrator.errors import RegistryFailed
from orchestrator.registry.sqlite import SqliteRegistry
from tests.unit.registry.records import decision, lease, pin, resident

fired = ctypes.CDLL(None).disk_fired
directory, mood = Path(sys.argv[1]), Path(sys.argv[2])

STEPS = {"n": 1, "p": 7}  # a disk that stays broken fails the same ways over and over

async def acts(registry, kept):
    for number in range(3):
        name = f"m{number}"
        if await registry.residents.put(resident(name)):
            kept.add(("resident", name))
        if await registry.leases.put(lease(f"l{number}", name)):
            kept.add(("lease", f"l{number}"))
        if await registry.pins.put(pin(name, True)):
            kept.add(("pin", name))
        await registry.decisions.put(decision(number + 1))

async def there():
    registry = SqliteRegistry.open(directory)
    memory = await registry.recall()
    await registry.close()
    return (
        {("resident", str(one.resident.name)) for one in memory.residents}
        | {("lease", one.id) for one in memory.leases}
        | {("pin", str(name)) for name in memory.pins}
    ), registry.problems

async def play(number, kind):
    shutil.rmtree(directory, ignore_errors=True)
    mood.write_text(f"{kind}{number}")
    kept, registry, refused = set(), None, False
    try:
        registry = SqliteRegistry.open(directory)
        await acts(registry, kept)
    except RegistryFailed:
        refused = True
    came = bool(fired())
    after = set(kept)
    if registry is not None:
        mood.write_text(".")
        await registry.retry()
        after = {("resident", f"m{n}") for n in range(3)} if registry.problem is None else kept
        await registry.close()
        came = came or bool(fired())
    mood.write_text(".")
    found, problems = await there()
    assert kept <= found, (number, kind, kept - found)
    assert refused or after <= found, (number, kind, after - found)
    with sqlite3.connect(directory / "registry.sqlite") as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)], (number, kind)
    return came, refused

async def main():
    told = {}
    for kind in sys.stdin.read().split():
        number, refusals = 1, 0
        while True:
            came, refused = await play(number, kind)
            if not came:
                break
            number, refusals = number + STEPS[kind], refusals + refused
        told[kind] = [number - 1, refusals]
    print(json.dumps(told))

asyncio.run(main())
"""


@pytest.fixture
def in_memory():
    """A directory whose syncs cost nothing: there are thousands of them."""
    with TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as directory:
        yield Path(directory)


@pytest.mark.parametrize("kind", ["n", "p"], ids=["once", "from then on"])
def test_nth_registry_write(tmp_path, in_memory, kind, record_property):
    """What was acknowledged is there, the file is whole, and the registry goes on."""
    child = on_bad_disk(PLAY, build_bad_disk(tmp_path), in_memory)
    printed, complained = child.communicate(kind, timeout=60 * crowd())
    assert child.returncode == 0, complained
    count, refusals = json.loads(printed)[kind]
    record_property("places", count)
    assert count > 20, "there are as many places to fail"
    assert refusals < count, "most are survived without a refusal"
