"""What the daemon is asked for: loads, unloads, plans, and what there is to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict
from urllib.parse import quote

from orchestrator.client import answers
from orchestrator.client.errors import NotAnswered, NotChosen, TryLater
from orchestrator.client.exchanges import (
    ANSWER_S,
    Ask,
    Exchange,
    Json,
    Pause,
    Reply,
    Retries,
    answered,
    error_of,
    heard_of,
    pause_before_next,
    understood,
)

LOAD_S = 600.0  # the longest that a load is waited for, unless the caller says otherwise
ONE_LOAD_S = 240.0  # of one request for it; more of them follow


class LoadSettings(TypedDict, total=False):
    """What may be said of a load, by the names of `POST /models/load`."""

    service: str
    priority: int
    ttl_seconds: float
    owner: str
    lease_seconds: float
    profile: str
    context_size: int
    gpu_layers: int | Literal["all"]
    cache_type: str
    lora_scales: Sequence[float]
    pin: bool
    evict: Literal["never"]


def order(model: str, owner: str | None, settings: LoadSettings) -> dict[str, object]:
    """The body: what was said, and the client's owner where no other is named."""
    return {"model": model, **({} if owner is None else {"owner": owner}), **settings}


def load(body: Json, wait_s: float, retries: Retries) -> Exchange[answers.ReadyModel]:
    """Until the model answers: a refusal that names a time is asked again then, up to `wait_s`.

    Raise NotChosen where there is nothing to wait for: an answer that says "it will come" is none.
    """
    if not wait_s > 0:
        raise NotChosen(f"{wait_s} s is no time to wait for a load.", "Say how long it may take.")
    left_s = wait_s
    failed = 0
    while True:
        once_s = min(left_s, ONE_LOAD_S)
        ask = Ask(
            method="POST",
            path="/models/load",
            body={**body, "wait": once_s},
            timeout_s=once_s + ANSWER_S,
        )
        heard = yield from heard_of(ask)
        if isinstance(heard, Reply) and heard.status < 400:
            return understood(heard, answers.ready_model)
        error = error_of(heard)
        failed = failed + 1 if isinstance(error, NotAnswered) else 0
        goes_on = isinstance(error, TryLater) and error.code == "load_deadline"
        pause_s = 0.0 if goes_on else pause_before_next(error, max(failed, 1))
        left_s -= heard.took_s + (pause_s or 0.0)
        if pause_s is None or left_s <= 0 or failed >= retries.tries_max:
            raise error
        if pause_s:
            yield Pause(pause_s)


def unload(
    model: str, *, force: bool, owner: str | None, wait_s: float, retries: Retries
) -> Exchange[answers.Unloaded]:
    body: dict[str, object] = {"model": model, "force": force, "wait": wait_s}
    if owner is not None:
        body["owner"] = owner
    ask = Ask(method="POST", path="/models/unload", body=body, timeout_s=wait_s + ANSWER_S)
    return understood((yield from answered(ask, retries)), answers.unloaded)


def switch(
    body: Json, leave: str | None, wait_s: float, retries: Retries
) -> Exchange[answers.ReadyModel]:
    """Load a model in place of the one whose lease is `leave`, which may leave for it then."""
    if leave is not None:
        gone = Ask(method="DELETE", path=f"/leases/{quote(leave, safe='')}")
        yield from answered(gone, retries)
    return (yield from load(body, wait_s, retries))


def plan(body: Json, retries: Retries) -> Exchange[answers.LoadPlan]:
    ask = Ask(method="POST", path="/models/plan", body=body)
    return understood((yield from answered(ask, retries)), answers.load_plan)


def status(retries: Retries) -> Exchange[answers.MachineStatus]:
    ask = Ask(method="GET", path="/models/status")
    return understood((yield from answered(ask, retries)), answers.machine_status)


def models(retries: Retries) -> Exchange[tuple[answers.KnownModel, ...]]:
    ask = Ask(method="GET", path="/v1/models")
    return understood((yield from answered(ask, retries)), answers.catalogue)


def is_healthy(path: str) -> Exchange[bool]:
    """Whether it answers, and says that it can. Asked once: no answer is one."""
    heard = yield from heard_of(Ask(method="GET", path=path))
    return isinstance(heard, Reply) and heard.status < 400
