"""Talks to any program that has one address which answers when it is ready.

What the program does meanwhile is not seen: who uses it takes a lease, or loads it with an owner.
"""

import httpx

from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.http import ServerHttp
from orchestrator.errors import CannotAsk
from orchestrator.ports import Readiness, Use

READINESS_S_MAX = 1.0
REFUSING_STATUS = 500  # from here on a server says that it cannot, below that the caller is wrong


class HealthPathTalker:
    tells_use = False

    def __init__(self, http: ServerHttp, health: str) -> None:
        """`health` is the path that is asked, such as /health."""
        self._http = http
        self._health = health

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        """Any answer below 500 is one of a program that works, also that it wants a key.

        Never broken: a proxy in front says many things while the program behind it loads.
        """
        try:
            answer = await self._http.get(endpoint, self._health, READINESS_S_MAX)
        except (httpx.HTTPError, CannotAsk):
            return Readiness(ReadyState.STARTING, "no answer yet")
        if answer.status_code >= REFUSING_STATUS:
            return Readiness(ReadyState.STARTING, f"{self._health} answers {answer.status_code}")
        return Readiness(ReadyState.READY)

    async def use(self, endpoint: Endpoint) -> Use:  # noqa: ARG002 - it has no counters
        return Use(busy_slots=None, served_total=None)

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Nothing: stopping the program gives the bytes back."""
