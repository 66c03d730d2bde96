"""`status --watch`: the daemon's events, drawn on a terminal, else a line for every change.

With `--json` a line for every status.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from orchestrator.cli import render
from orchestrator.cli.client import Answer, NotReached, Remote
from orchestrator.cli.commands import WATCH_S, show
from orchestrator.cli.screen import complain, say, say_exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.cli.client import Json


def status(remote: Remote, *, as_json: bool) -> int:
    """Until Ctrl-C; a daemon that is away may come back."""
    before: Any = None
    while True:
        try:
            for event in remote.events("/events"):
                now: Any = event.get("status")
                if isinstance(now, dict):
                    _show(now, before, as_json=as_json)
                    before = now
        except NotReached as error:
            complain(str(error), error.remedy)
        time.sleep(WATCH_S)


def _show(now: Json, before: Any, *, as_json: bool) -> None:
    if as_json:
        say_exactly(json.dumps(now, ensure_ascii=False))
    elif sys.stdout.isatty():
        show(Answer(now, ""), render.status_lines, as_json=False, anew=True)
    elif lines := list(changes(now, before)):
        say(*(f"{now['now']}  {line}" for line in lines))


def changes(now: Any, before: Any) -> Iterator[str]:
    """What is different, a sentence each; before anything was seen, all that is."""
    before = before or {"devices": [], "loaded_models": {}, "queue": []}
    states = {device["id"]: device["state"] for device in before["devices"]}
    for device in now["devices"]:
        if states.get(device["id"], "ok") != device["state"]:
            why = f": {device['problem']}" if device["problem"] else ""
            yield f"{device['id']} is {device['state']}{why}"
    models, were = now["loaded_models"], before["loaded_models"]
    for name, model in models.items():
        if name not in were or were[name]["status"] != model["status"]:
            why = f": {model['why_leaving']}" if model["why_leaving"] else ""
            yield f"{name} is {model['status']}{why}"
    yield from (f"{name} has left" for name in were if name not in models)
    waited = {waiter["model"]: waiter["waits_for"] for waiter in before["queue"]}
    waiting = {waiter["model"]: waiter for waiter in now["queue"]}
    for name, waiter in waiting.items():
        if waited.get(name) != waiter["waits_for"]:
            bound = render.duration(waiter["bound_seconds"])
            yield f"{name} waits for {waiter['waits_for']}, at most {bound}"
    yield from (f"{name} does not wait any more" for name in waited if name not in waiting)
