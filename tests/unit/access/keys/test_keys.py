import asyncio
from dataclasses import replace

import pytest

from orchestrator.access.keys import acts
from orchestrator.access.keys.keys import Keys
from orchestrator.access.keys.record import KeyScope
from orchestrator.access.keys.store import KeyFile
from orchestrator.access.keys.table import KeyTable
from orchestrator.access.keys.wish import KeyWish
from tests.simulation.virtual_time import VirtualTimeLoop
from tests.unit.access.keys.samples import NOW_S, key
from tests.unit.web.office import AtOnce

WISH = KeyWish(name="ci", scopes=(KeyScope.READ,))
PATIENCE_S = 10.0


def beside(tmp_path, act, *said):
    """As the command line does it, in a process of its own."""
    file = KeyFile.at(tmp_path)
    try:
        return act(file, *said)[0]
    finally:
        file.close()


@pytest.fixture
def following(tmp_path):
    """What a test does with keys that follow the file."""

    def run(test):
        async def inside():
            keys = Keys(tmp_path, clock=lambda: NOW_S)
            keys.follow()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await test(keys)
            finally:
                keys.close()

        asyncio.run(inside())

    return run


def test_new_key_of_another_process_is_known_at_once(following, tmp_path):
    async def test(keys):
        assert not keys.closed
        new = beside(tmp_path, acts.create, WISH, NOW_S)
        assert (await keys.shown(new.secret.encode())).key == new.record
        assert keys.closed

    following(test)


def test_revocation_by_another_process_is_heard(following, tmp_path):
    async def test(keys):
        new = await keys.create(WISH, None)
        heard = asyncio.Event()
        keys.watch(lambda table: table.keys[new.record.id].revoked_s and heard.set())
        beside(tmp_path, acts.revoke, new.record.id, NOW_S)
        await heard.wait()
        assert (await keys.shown(new.secret.encode())).key.revoked_s == NOW_S

    following(test)


def test_older_look_that_comes_late_takes_nothing_back_and_an_older_file_does(following, tmp_path):
    async def test(keys):
        new = await keys.create(WISH, None)
        before, copy = keys.table, (tmp_path / "keys.sqlite").read_bytes()
        await keys.revoke(new.record.id)
        keys._take(before)
        assert keys.table.keys[new.record.id].revoked_s
        (tmp_path / "copy").write_bytes(copy)
        (tmp_path / "copy").replace(tmp_path / "keys.sqlite")
        while keys.table.generation != before.generation:
            assert await keys.shown(b"unknown") is None

    following(test)


def test_own_changes_are_in_force_when_they_return(following):
    async def test(keys):
        tables = []
        keys.watch(tables.append)
        new = await keys.create(WISH, None)
        cookie, session = await keys.log_in(await keys.shown(new.secret.encode()))
        assert (await keys.session(cookie.encode()))[0] == session
        await keys.log_out(session)
        assert await keys.session(cookie.encode()) is None
        other = await keys.rotate(new.record.id, 0)
        assert await keys.shown(new.secret.encode()) is None
        assert await keys.shown(other.secret.encode()) is not None
        await keys.revoke(new.record.id)
        assert keys.closed
        generations = [table.generation for table in tables]
        assert generations == sorted(set(generations))

    following(test)


def test_file_that_cannot_be_read_leaves_the_last_keys_in_force(following, tmp_path, caplog):
    async def test(keys):
        new = await keys.create(WISH, None)
        path = tmp_path / "keys.sqlite"
        sound = path.read_bytes()
        path.unlink()
        path.write_bytes(b"damaged" * 1000)
        while "stay in force" not in caplog.text:
            assert await keys.shown(b"unknown") is None
        assert await keys.shown(new.secret.encode()) is not None
        path.unlink()
        path.write_bytes(sound)
        while "can be read again" not in caplog.text:
            assert await keys.shown(b"unknown") is None

    following(test)


def test_key_of_a_revoked_one_goes_with_it(following):
    async def test(keys):
        boss = await keys.create(KeyWish(name="boss", scopes=(KeyScope.ADMIN,)), None)
        sub = await keys.create(WISH, boss.record)
        assert {key.id for key in await keys.revoke(boss.record.id)} == {
            boss.record.id,
            sub.record.id,
        }

    following(test)


def test_who_watches_hears_of_an_end_by_time(tmp_path):
    """Of a key, a secret that was rotated, a session: one timer to the next of them."""

    async def test():
        loop = asyncio.get_running_loop()
        keys = Keys(tmp_path, clock=lambda: NOW_S + loop.time())
        heard = asyncio.Event()
        try:
            new = await keys.create(replace(WISH, expires="1m"), None)

            def look(table):
                if table.keys[new.record.id].expires_s <= keys.clock():
                    heard.set()

            keys.watch(look)
            assert not heard.is_set()
            async with asyncio.timeout(10 * PATIENCE_S):
                await heard.wait()
        finally:
            keys.close()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.get_loop().set_default_executor(AtOnce())
        runner.run(test())


def test_a_wall_clock_that_is_set_back_locks_no_key_out(tmp_path):
    wall_s, steady_s = NOW_S, 1000.0

    async def test():
        nonlocal wall_s, steady_s
        keys = Keys(tmp_path, clock=lambda: wall_s, steady=lambda: steady_s)
        try:
            key = (await keys.create(replace(WISH, requests_per_minute=2), None)).record
            assert [keys.ask(key), keys.ask(key)] == [None, None]
            wall_s -= 86_400
            assert keys.ask(key).retry_after_s <= 60
            steady_s += 61
            assert keys.ask(key) is None
        finally:
            keys.close()

    asyncio.run(test())


def test_makers_are_those_above_in_their_order():
    boss, middle = key(id="boss0000"), key(id="middle00", created_by="boss0000")
    low = key(id="low00000", created_by="middle00")
    table = KeyTable(1, [boss, middle, low])
    assert table.makers(low) == (middle, boss)
    assert table.makers(boss) == ()
