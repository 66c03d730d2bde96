import asyncio

import pytest

from orchestrator.runtimes.unshared import Unshared


def test_nothing_ever_comes_from_others():
    async def scene():
        runtime = Unshared()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await runtime.stirred()
        assert await runtime.returned(()) == ()
        assert await runtime.already(None) is None
        assert runtime.silence() is None

    asyncio.run(scene())
