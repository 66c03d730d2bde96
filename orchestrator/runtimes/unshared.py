"""The answers of a runtime whose servers are started by us alone, and that is never silent."""

import asyncio
from collections.abc import Collection, Sequence

from orchestrator.core.values.failures import Silence
from orchestrator.core.values.residents import InstanceId
from orchestrator.ports import Found, Handle, Launch, Running


class Unshared:
    async def stirred(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def returned(self, known: Collection[InstanceId]) -> Sequence[Found]:  # noqa: ARG002
        return ()

    async def already(self, launch: Launch) -> Running | None:  # noqa: ARG002
        return None

    async def listens(self, handle: Handle) -> bool:  # noqa: ARG002
        return True

    def foresee_stop(self, handle: Handle) -> None:
        """There is nothing to find out."""

    def silence(self) -> Silence | None:
        return None
