"""The words that ask a running daemon: one function for a word, which prints the answer."""

from __future__ import annotations

import json
import time
from operator import itemgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from orchestrator.cli import exporting, render
from orchestrator.cli.client import ANSWER_S, Answer, NotReached, RefusedByDaemon, Remote
from orchestrator.cli.request_lines import cancelled_lines, request_lines
from orchestrator.cli.screen import complain, say, say_exactly, waiting

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.cli.client import Json
    from orchestrator.cli.screen import Part

DONE, FAILED, MISUSED = 0, 1, 2
WATCH_S = 1.0  # between two questions of `--watch`, or two tries to listen
LOOK_S = 1.0  # between two questions what a load waits for; and the most one of them takes
WAIT_S = 240.0  # of one request for a load; more of them follow until it has ended
WAIT_S_MAX = 3600.0  # the most the API takes


class Unintelligible(Exception):
    """The answer lacks what this version of the command line reads from it."""


def show(
    answer: Answer,
    lines: Callable[[Any], Iterable[Part]],
    *,
    as_json: bool,
    anew: bool = False,
) -> None:
    """With `as_json` exactly what the API said. Raise Unintelligible."""
    if as_json:
        say_exactly(answer.text)
        return
    try:
        rendered = list(lines(answer.body))
        if answer.body.get("durable") is False:
            rendered.append(render.UNDURABLE)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unintelligible(repr(error)) from error
    say(*rendered, anew=anew)


# --- questions -------------------------------------------------------------------------------


def status(remote: Remote, words: Namespace) -> int:
    return _look(remote, "/models/status", render.status_lines, words)


def ps(remote: Remote, words: Namespace) -> int:
    return _look(remote, "/models/status", render.ps_lines, words)


def requests(remote: Remote, words: Namespace) -> int:
    wanted = {name: getattr(words, name) for name in ("model", "client", "owner", "outcome")}
    asked = {"limit": words.lines} | {name: said for name, said in wanted.items() if said}
    return _look(remote, f"/requests?{urlencode(asked)}", request_lines, words)


def _look(
    remote: Remote, path: str, lines: Callable[[Any], Iterable[Part]], words: Namespace
) -> int:
    if not words.watch:
        show(remote.ask("GET", path), lines, as_json=words.json)
        return DONE
    while True:
        try:
            answer = remote.ask("GET", path)
        except NotReached as error:  # it may be restarting, which is worth watching
            complain(str(error), error.remedy)
        else:
            show(answer, lines, as_json=words.json, anew=not words.json)
        time.sleep(WATCH_S)


def models(remote: Remote, words: Namespace) -> int:
    show(remote.ask("GET", "/models"), render.models_lines, as_json=words.json)
    return DONE


def leases(remote: Remote, words: Namespace) -> int:
    show(remote.ask("GET", "/leases"), render.lease_lines, as_json=words.json)
    if not words.json:
        say("")
    show(remote.ask("GET", "/vram/leases"), render.room_lines, as_json=words.json)
    return DONE


def logs(remote: Remote, words: Namespace) -> int:
    answer = remote.ask("GET", f"{_model(words)}/logs?{urlencode({'lines': words.lines})}")
    show(answer, lambda body: map(str, body["lines"]), as_json=words.json)
    return DONE


def events(remote: Remote, words: Namespace) -> int:
    if words.export:
        return _export(remote)
    wanted = {"limit": words.lines} | ({"model": words.model} if words.model else {})
    if not words.follow:
        answer = remote.ask("GET", f"/events?{urlencode(wanted)}")
        show(answer, _oldest_first, as_json=words.json)
        return DONE
    for event in remote.events("/events"):
        for decision in _decisions(event):
            if words.model in (None, decision.get("model")):
                _tell(decision, as_json=words.json)
    raise NotReached("The daemon closed the connection.", "Ask again when it is back.")


def _export(remote: Remote) -> int:
    try:
        exporting.write(remote)
    except (LookupError, TypeError) as error:
        raise Unintelligible(repr(error)) from error
    return DONE


def _oldest_first(body: Any) -> Iterable[str]:
    return map(render.decision_line, reversed(body["events"]))


def _decisions(event: Json) -> list[Json]:
    """The decisions in one event of the stream: the first one holds the recent ones."""
    if event.get("type") == "decision":
        return [event]
    recent = event.get("decisions") if event.get("type") == "snapshot" else None
    return sorted(recent, key=itemgetter("id")) if isinstance(recent, list) else []


def _tell(decision: Json, *, as_json: bool) -> None:
    text = json.dumps(decision, ensure_ascii=False)
    show(Answer(decision, text), lambda body: [render.decision_line(body)], as_json=as_json)


def plan(remote: Remote, words: Namespace) -> int:
    answer = remote.ask("POST", "/models/plan", _order(words))
    show(answer, render.plan_lines, as_json=words.json)
    return DONE if answer.body.get("fits") else FAILED


# --- orders ----------------------------------------------------------------------------------


def load(remote: Remote, words: Namespace) -> int:
    order = _order(words)
    if words.no_wait:
        answer = remote.ask("POST", "/models/load", {**order, "wait": False})
        lines = render.load_lines if "endpoint" in answer.body else render.accepted_lines
        show(answer, lines, as_json=words.json)
        return DONE
    answer = loaded(remote, order, words.wait)
    show(answer, render.load_lines, as_json=words.json)
    return DONE


def loaded(remote: Remote, order: Json, wait_s: float | None = None) -> Answer:
    """Have it ready, showing what it waits for. Asks again when one request's time is over, unless
    the caller said how long to wait.
    """
    with waiting(_progress(remote, str(order["model"]))):
        return _loaded(remote, order, wait_s)


def _loaded(remote: Remote, order: Json, wait_s: float | None) -> Answer:
    once_s = WAIT_S if wait_s is None else wait_s
    while True:
        try:
            body = {**order, "wait": once_s}
            return remote.ask("POST", "/models/load", body, timeout_s=once_s + ANSWER_S)
        except RefusedByDaemon as error:
            if wait_s is not None or error.body.get("code") != "load_deadline":
                raise


def unload(remote: Remote, words: Namespace) -> int:
    body: Json = {"model": words.name, "force": words.force}
    if words.owner:
        body["owner"] = words.owner
    with waiting(_progress(remote, words.name)):
        answer = remote.ask("POST", "/models/unload", body, timeout_s=WAIT_S + ANSWER_S)
    show(answer, render.unload_lines, as_json=words.json)
    return DONE


def pin(remote: Remote, words: Namespace, method: str = "PUT") -> int:
    show(remote.ask(method, f"{_model(words)}/pin"), render.pinned_lines, as_json=words.json)
    return DONE


def unpin(remote: Remote, words: Namespace) -> int:
    return pin(remote, words, "DELETE")


def cancel(remote: Remote, words: Namespace) -> int:
    answer = remote.ask("POST", f"/requests/{words.id}/cancel")
    show(answer, cancelled_lines, as_json=words.json)
    return DONE


def reload(remote: Remote, words: Namespace) -> int:
    show(remote.ask("POST", "/admin/reload"), render.reloaded_lines, as_json=words.json)
    return DONE


def _model(words: Namespace) -> str:
    return f"/models/{quote(words.name, safe='')}"


def _order(words: Namespace) -> Json:
    """Only what was said: the rest is the daemon's to choose."""
    said = {
        "model": words.name,
        "priority": words.priority,
        "owner": words.owner,
        "lease_seconds": words.lease_seconds,
        "ttl_seconds": words.ttl,
        "context_size": words.context_size,
        "gpu_layers": words.gpu_layers,
        "cache_type": words.cache_type,
        "lora_scales": words.lora_scales,
        "profile": words.profile,
        "pin": words.pin or None,
        "evict": words.evict,
    }
    return {key: value for key, value in said.items() if value is not None}


def _progress(remote: Remote, model: str, *, look_s: float = LOOK_S) -> Iterator[str]:
    """How long it has been, and what the load or unload of the model waits for."""
    began_s = looked_s = time.monotonic()
    words = ""
    while True:
        now_s = time.monotonic()
        if now_s - looked_s >= look_s:
            looked_s, words = now_s, _waits_for(remote, model)
        because = f": {words}" if words else ""
        yield f"{model}, {now_s - began_s:.0f} s{because}"


def _waits_for(remote: Remote, model: str) -> str:
    """Decoration: where no daemon answers, the order itself will say so."""
    try:
        body: Any = remote.ask("GET", "/models/status", timeout_s=LOOK_S).body
        return render.waiting_words(body, model)
    except (RefusedByDaemon, NotReached, LookupError, TypeError, ValueError, AttributeError):
        return ""
