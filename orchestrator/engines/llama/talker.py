"""Talks to any llama.cpp server: whether it is ready, and whether it is in use.

None of these requests touches a slot or a counter of the server, so looking is not using (R13).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.core.values.specs import ModelSpec
from orchestrator.engines.http import NoAnswer, ServerHttp, ToldByServer, TooSlow
from orchestrator.errors import CannotAsk, Unreachable
from orchestrator.ports import Readiness, Use

READINESS_S_MAX = 1.0  # answered by threads of their own, also while weights are read
USE_S_MAX = 2.0  # older servers answer between two batches: seconds, on a processor

COUNT_MAX = 1 << 53  # beyond it no program means what it says
_SAMPLE = re.compile(r"^llamacpp:(\w+) ([\d.eE+-]+)$", re.MULTILINE)
# Every request raises at least one: a prompt that was cached whole still predicts, and an
# embedding predicts nothing but has a prompt.
_SERVED = ("prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total")


class LlamaTalker:
    tells_use = True

    def __init__(
        self,
        http: ServerHttp,
        *,
        readiness_s_max: float = READINESS_S_MAX,
        use_s_max: float = USE_S_MAX,
    ) -> None:
        self._http = http
        self._readiness_s_max = readiness_s_max
        self._use_s_max = use_s_max

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        """Ask `/health` once. Not listening yet, loading and slow all mean: still starting."""
        health = await self._health(endpoint)
        if health.state is not ReadyState.READY:
            return health
        return replace(health, slots=await self._slots(endpoint))

    async def _health(self, endpoint: Endpoint) -> Readiness:
        try:
            answer = await self._http.get(endpoint, "/health", self._readiness_s_max)
        except (NoAnswer, CannotAsk) as error:
            return Readiness(ReadyState.STARTING, f"no answer yet ({error})")
        if answer.is_ok:
            return Readiness(ReadyState.READY)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Readiness(ReadyState.STARTING, _error_message(answer), heard=True)
        return Readiness(
            ReadyState.BROKEN,
            f"/health answers {answer.status}: this is not a llama.cpp server",
        )

    async def _slots(self, endpoint: Endpoint) -> tuple[int, ...]:
        """How it divides its context, whoever chose its settings. Not worth a wait."""
        try:
            answer = await self._http.get(endpoint, "/slots", self._readiness_s_max)
        except (NoAnswer, CannotAsk):
            return ()
        said = _slot_list(answer) or ()
        return tuple(slot["n_ctx"] for slot in said if isinstance(slot.get("n_ctx"), int))

    async def use(self, endpoint: Endpoint) -> Use:
        """Look at slots and counters. Raise Unreachable if the server does not answer at all, and
        CannotAsk if that says nothing of it.

        A server that accepts the question but does not answer it in time is deep in a batch: that
        is use, though its amount is unknown.

        Ask a server every two seconds or more seldom. It looks for clients that have left only
        after a second without any answer to give, to us included: asked more often, it finishes
        answers whose clients have left.
        """
        try:
            samples = _samples(await self._http.get(endpoint, "/metrics", self._use_s_max))
            busy = samples.get("requests_processing")
            if busy is None:  # started without its counters
                busy = _busy_slots(await self._http.get(endpoint, "/slots", self._use_s_max))
        except TooSlow:
            return await self._deep_in_a_batch(endpoint)
        except NoAnswer as error:
            raise Unreachable(f"{endpoint.url} does not answer: {error}") from error
        return Use(
            busy_slots=None if busy is None else int(busy),
            served_total=_served_total(samples),
            figures=samples,
        )

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Nothing: its process or container is ours, and stopping it gives the bytes back."""

    async def _deep_in_a_batch(self, endpoint: Endpoint) -> Use:
        readiness = await self._health(endpoint)
        if readiness.state is not ReadyState.READY:
            raise Unreachable(f"{endpoint.url} answers neither /metrics nor /health in time")
        return Use(busy_slots=1, served_total=None)


def _samples(metrics: ToldByServer) -> Mapping[str, float]:
    """The counters, by name; none where the server was started without them."""
    if not metrics.is_ok:
        return {}
    return dict(_sound(_SAMPLE.findall(metrics.text)))


def _sound(samples: Iterable[tuple[str, str]]) -> Iterator[tuple[str, float]]:
    """Those that a server can mean: what runs inside it may say anything."""
    for name, text in samples:
        try:
            value = float(text)
        except ValueError:
            continue
        if 0 <= value <= COUNT_MAX:
            yield name, value


def _slot_list(slots: ToldByServer) -> list[Mapping[str, Any]] | None:
    if not slots.is_ok:
        return None
    try:
        said = slots.json()
    except ValueError:
        said = None
    if not isinstance(said, list) or not all(isinstance(slot, dict) for slot in said):
        return None  # not a llama.cpp server's list of slots: it does not tell
    return said


def _busy_slots(slots: ToldByServer) -> int | None:
    said = _slot_list(slots)
    return None if said is None else sum(bool(slot.get("is_processing")) for slot in said)


def _served_total(samples: Mapping[str, float]) -> float | None:
    counters = [samples[name] for name in _SERVED if name in samples]
    return sum(counters) if counters else None


def _error_message(answer: ToldByServer) -> str:
    try:
        said = answer.json()
    except ValueError:
        said = None
    error = said.get("error") if isinstance(said, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return f"/health answers {answer.status}" if message is None else str(message)
