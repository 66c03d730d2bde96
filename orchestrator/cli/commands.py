"""What the command line has a running daemon do: one function per word, each prints the answer."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote, urlencode

from orchestrator.cli import render
from orchestrator.cli.client import ANSWER_S, Answer, NotReached, Refused, Remote

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.cli.client import Json

DONE, FAILED = 0, 1
WATCH_S = 1.0  # between two looks of `status --watch`
SPIN_S = 0.2
LOOK_S = 1.0  # between two questions what a load waits for
WAIT_S = 240.0  # of one request for a load; more of them follow until it has ended
WAIT_S_MAX = 3600.0  # the most the API takes
_CLEAR = "\x1b[H\x1b[2J"
_WIPE = "\r\x1b[2K"
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Unintelligible(Exception):
    """The answer lacks what this version of the command line reads from it."""


def say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()  # also where it goes into a pipe: somebody may be following


def complain(*texts: str) -> None:
    """What went wrong, without what a file or a server may have put there to fool the terminal."""
    lines = (line for text in texts for line in text.split("\n") if line)
    sys.stderr.write("".join(f"{render.plain(line)}\n" for line in lines))
    sys.stderr.flush()


def show(answer: Answer, lines: Callable[[Any], Iterable[str]], *, as_json: bool) -> None:
    """With `as_json` exactly what the API said. Raise Unintelligible."""
    if as_json:
        say(answer.text.rstrip("\n"))
        return
    try:
        rendered = list(lines(answer.body))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise Unintelligible(repr(error)) from error
    say(*rendered)


# --- questions -------------------------------------------------------------------------------


def status(remote: Remote, words: Namespace) -> int:
    if not words.watch:
        show(remote.ask("GET", "/models/status"), render.status_lines, as_json=words.json)
        return DONE
    while True:
        try:
            answer = remote.ask("GET", "/models/status")
        except NotReached as error:  # it may be restarting: that is what one watches
            complain(str(error), error.remedy)
        else:
            if sys.stdout.isatty() and not words.json:
                sys.stdout.write(_CLEAR)
            show(answer, render.status_lines, as_json=words.json)
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
    show(answer, lambda body: map(render.plain, body["lines"]), as_json=words.json)
    return DONE


def events(remote: Remote, words: Namespace) -> int:
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


def _oldest_first(body: Any) -> Iterable[str]:
    return map(render.decision_line, reversed(body["events"]))


def _decisions(event: Json) -> list[Json]:
    """The decisions in one event of the stream: the first one holds the recent ones."""
    if event.get("type") == "decision":
        return [event]
    recent = event.get("decisions") if event.get("type") == "snapshot" else None
    return _by_id(recent) if isinstance(recent, list) else []


def _by_id(decisions: list[Any]) -> list[Json]:
    return sorted(decisions, key=lambda each: each["id"])


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
    with progress(remote, words.name):
        answer = _loaded(remote, order, words.wait)
    show(answer, render.load_lines, as_json=words.json)
    return DONE


def _loaded(remote: Remote, order: Json, wait_s: float | None) -> Answer:
    """Joins the load again whenever one request's time is over, unless the caller set the time."""
    once_s = WAIT_S if wait_s is None else wait_s
    while True:
        try:
            body = {**order, "wait": once_s}
            return remote.ask("POST", "/models/load", body, timeout_s=once_s + ANSWER_S)
        except Refused as refused:
            if wait_s is not None or refused.body.get("code") != "load_deadline":
                raise


def unload(remote: Remote, words: Namespace) -> int:
    body: Json = {"model": words.name, "force": words.force}
    if words.owner:
        body["owner"] = words.owner
    with progress(remote, words.name):
        answer = remote.ask("POST", "/models/unload", body, timeout_s=WAIT_S + ANSWER_S)
    show(answer, render.unload_lines, as_json=words.json)
    return DONE


def pin(remote: Remote, words: Namespace) -> int:
    show(remote.ask("PUT", f"{_model(words)}/pin"), render.pinned_lines, as_json=words.json)
    return DONE


def unpin(remote: Remote, words: Namespace) -> int:
    show(remote.ask("DELETE", f"{_model(words)}/pin"), render.pinned_lines, as_json=words.json)
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
        "profile": words.profile,
        "pin": words.pin or None,
    }
    return {key: value for key, value in said.items() if value is not None}


@contextmanager
def progress(
    remote: Remote, model: str, screen: TextIO | None = None, *, look_s: float = LOOK_S
) -> Iterator[None]:
    """While the block runs: how long it has been, and what it waits for. Only for a terminal."""
    screen = screen or sys.stderr
    if not screen.isatty():
        yield
        return
    over = threading.Event()
    spinner = _Spinner(remote, model, screen, look_s)
    spinning = threading.Thread(target=spinner.spin, args=(over,), daemon=True)
    spinning.start()
    try:
        yield
    finally:
        over.set()
        spinning.join(timeout=2 * SPIN_S)  # it may be in the middle of a question
        screen.write(_WIPE)
        screen.flush()


@dataclass(frozen=True, slots=True)
class _Spinner:
    remote: Remote
    model: str
    screen: TextIO
    look_s: float

    def spin(self, over: threading.Event) -> None:
        began_s = looked_s = time.monotonic()
        words, turns = "", 0
        while not over.wait(SPIN_S):
            now_s = time.monotonic()
            if now_s - looked_s >= self.look_s:
                looked_s, words = now_s, self._waits_for()
            turns += 1
            if not over.is_set():
                because = f": {words}" if words else ""
                mark = _SPINNER[turns % len(_SPINNER)]
                self.screen.write(f"{_WIPE}{mark} {self.model}, {now_s - began_s:.0f} s{because}")
                self.screen.flush()

    def _waits_for(self) -> str:
        """Decoration: where nobody answers, the order itself will say so."""
        try:
            body: Any = self.remote.ask("GET", "/models/status", timeout_s=LOOK_S).body
            return render.waiting_words(body, self.model)
        except (Refused, NotReached, LookupError, TypeError, AttributeError):
            return ""
