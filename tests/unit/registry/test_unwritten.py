import asyncio

import pytest

from orchestrator.errors import RegistryFailed
from orchestrator.registry.unwritten import RETRY_TOGETHER_MAX, Unwritten

NEVER_S = 3600.0
AT_ONCE_S = 0.0


class Disk:
    """Takes what it is given while it is sound, and notes each try."""

    def __init__(self, *, sound=True):
        self.sound = sound
        self.written = {}
        self.tries = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def write(self, key, value):
        async def act():
            self.tries += 1
            await self.gate.wait()
            if not self.sound:
                raise RegistryFailed(f"no room for {value}")
            self.written[key] = value

        return act

    async def put(self, unwritten, key, value):
        await unwritten.put((key,), value, self.write(key, value))


def test_what_is_written_is_kept_no_longer():
    async def acts():
        disk, unwritten = Disk(), Unwritten(9, NEVER_S)
        await disk.put(unwritten, "a", 1)
        assert disk.written == {"a": 1}
        assert (unwritten.values(), unwritten.refusals) == ({}, [])

    asyncio.run(acts())


def test_what_is_refused_is_kept_and_tried_again():
    async def acts():
        disk, unwritten = Disk(sound=False), Unwritten(9, NEVER_S)
        await disk.put(unwritten, "a", 1)
        assert unwritten.values() == {("a",): 1}
        assert unwritten.refusals == ["no room for 1"]
        await unwritten.retry()
        assert unwritten.refusals == ["no room for 1"]
        disk.sound = True
        await unwritten.retry()
        assert disk.written == {"a": 1}
        assert (unwritten.values(), unwritten.refusals) == ({}, [])

    asyncio.run(acts())


def test_only_the_newest_of_a_key_is_tried_again():
    async def acts():
        disk, unwritten = Disk(sound=False), Unwritten(9, NEVER_S)
        for value in (1, 2, 3):
            await disk.put(unwritten, "a", value)
        disk.sound, disk.tries = True, 0
        await unwritten.retry()
        assert (disk.written, disk.tries) == ({"a": 3}, 1)

    asyncio.run(acts())


def test_an_older_write_that_fails_late_does_not_come_back():
    async def acts():
        disk, unwritten = Disk(sound=False), Unwritten(9, NEVER_S)
        disk.gate.clear()
        older = asyncio.create_task(disk.put(unwritten, "a", 1))
        await asyncio.sleep(0)
        good = Disk()
        await good.put(unwritten, "a", 2)
        disk.gate.set()
        await older
        assert (unwritten.values(), unwritten.refusals) == ({}, [])

    asyncio.run(acts())


def test_a_disk_that_hangs_keeps_nobody_waiting():
    async def acts():
        disk, unwritten = Disk(), Unwritten(9, AT_ONCE_S)
        disk.gate.clear()
        await disk.put(unwritten, "a", 1)
        assert "has not answered" in unwritten.refusals[0]
        await unwritten.retry()
        assert disk.tries == 1  # it is still at it: asking again would only make the queue longer
        disk.gate.set()
        while unwritten.refusals:
            await asyncio.sleep(0)
        assert (disk.written, unwritten.values()) == ({"a": 1}, {})

    asyncio.run(acts())


def test_a_caller_that_is_cancelled_does_not_stop_the_write():
    async def acts():
        disk, unwritten = Disk(), Unwritten(9, NEVER_S)
        disk.gate.clear()
        caller = asyncio.create_task(disk.put(unwritten, "a", 1))
        while disk.tries == 0:
            await asyncio.sleep(0)
        caller.cancel()
        disk.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await caller
        while unwritten.values():
            await asyncio.sleep(0)
        assert disk.written == {"a": 1}

    asyncio.run(acts())


def test_beyond_its_length_the_oldest_is_given_up_and_counted():
    async def acts():
        disk, unwritten = Disk(sound=False), Unwritten(3, NEVER_S)
        for key in "abcde":
            await disk.put(unwritten, key, key)
        assert list(unwritten.values()) == [("c",), ("d",), ("e",)]
        assert unwritten.given_up == 2

    asyncio.run(acts())


def test_a_retry_asks_a_broken_disk_no_more_than_it_must():
    async def acts():
        disk, unwritten = Disk(sound=False), Unwritten(10 * RETRY_TOGETHER_MAX, NEVER_S)
        for number in range(RETRY_TOGETHER_MAX + 5):
            await disk.put(unwritten, number, number)
        disk.tries = 0
        await unwritten.retry()
        assert disk.tries == RETRY_TOGETHER_MAX
        disk.sound = True
        await unwritten.retry()
        assert len(disk.written) == RETRY_TOGETHER_MAX + 5

    asyncio.run(acts())


def test_a_mistake_is_raised_and_not_taken_for_a_refusal():
    async def mistaken():
        raise LookupError("mine")

    async def acts():
        unwritten = Unwritten(9, NEVER_S)
        with pytest.raises(LookupError, match="mine"):
            await unwritten.put(("a",), 1, mistaken)
        assert unwritten.refusals == []

    asyncio.run(acts())
