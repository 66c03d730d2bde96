"""Talks to any program that has one address which answers when it is ready.

What the program does meanwhile is seen where it has metrics that say so. Without them who uses it
beside the gateway takes a lease, or loads it with an owner.
"""

from collections.abc import Sequence

from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.http import NoAnswer, ServerHttp
from orchestrator.engines.use_figures import KNOWN, use_in
from orchestrator.errors import CannotAsk, Unreachable
from orchestrator.ports import Readiness, Use

READINESS_S_MAX = 1.0
USE_S_MAX = 2.0  # a program in Python answers between two steps of its work
REFUSING_STATUS = 500  # from here on a server says that it cannot, below that the caller is wrong


class HealthPathTalker:
    def __init__(
        self, http: ServerHttp, health: str, *, metrics: str | None = None, busy: Sequence[str] = ()
    ) -> None:
        """`health` is the path that is asked, such as /health; `metrics` the one that tells of its
        use, under the names `busy`, or those of known servers.
        """
        self._http = http
        self._health = health
        self._metrics = metrics
        self._busy = tuple(busy) or KNOWN

    @property
    def tells_use(self) -> bool:
        return self._metrics is not None

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        """Any answer below 500 is one of a program that works, also that it wants a key.

        Never broken: a proxy in front says many things while the program behind it loads.
        """
        try:
            answer = await self._http.get(endpoint, self._health, READINESS_S_MAX)
        except (NoAnswer, CannotAsk):
            return Readiness(ReadyState.STARTING, "no answer yet")
        if answer.status >= REFUSING_STATUS:
            said = f"{self._health} answers {answer.status}"
            return Readiness(ReadyState.STARTING, said, heard=True)
        return Readiness(ReadyState.READY)

    async def use(self, endpoint: Endpoint) -> Use:
        """One look at its metrics. An answer without the names that are looked for tells nothing;
        raise Unreachable or CannotAsk if there is none.
        """
        if self._metrics is None:
            return Use(busy_slots=None, served_total=None)
        try:
            answer = await self._http.get(endpoint, self._metrics, USE_S_MAX)
        except NoAnswer as error:
            raise Unreachable(f"{endpoint.url}{self._metrics} does not answer: {error}") from error
        if not answer.is_ok:
            return Use(busy_slots=None, served_total=None)
        return use_in(answer.text, self._busy)

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Nothing: stopping the program gives the bytes back."""
