"""What a runtime answers whose things nobody else starts, and which needs nobody to answer it."""

import asyncio
from collections.abc import Collection, Sequence

from orchestrator.core.values.residents import InstanceId
from orchestrator.ports import Found, Launch, Running


class Unshared:
    async def stirred(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def returned(self, known: Collection[InstanceId]) -> Sequence[Found]:  # noqa: ARG002
        return ()

    async def already(self, launch: Launch) -> Running | None:  # noqa: ARG002
        return None

    def silence(self) -> None:
        return None
