"""What nginx is told at its start: its configuration, from templates. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.access.keys.decision import AccessCode, NotAllowed, unauthorized
from orchestrator.gateway.fitness import TEXT_TASKS
from orchestrator.gateway.for_admins import ACTING_GETS, QUESTIONS
from orchestrator.gateway.mishaps import broken, ended_by_operator
from orchestrator.gateway.ollama.paths import CALLS as OLLAMA_CALLS
from orchestrator.gateway.paths import IN_A_SLOT, POSTS, Call, NamedIn, Task
from orchestrator.gateway.protocols import body_of, event_of
from orchestrator.web.wire.error_answers import (
    ErrorAnswer,
    WebCode,
    encode,
    error_body,
    error_of_access,
)

PARTS = Path(__file__).parent  # what the configuration includes
TEMPLATE = PARTS / "nginx.conf.template"
LOCATION = "warm_location.conf"
# In words that are made here once and said there often.
MODEL, PATH, KEY = "@model@", "@path@", "@key@"
AFTER_S = 5.0  # as `keys.lua` has it in Retry-After
# Answers whose ids can be asked on with: the relay remembers which model made them.
REMEMBERED = frozenset({Task.RESPONSES})


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where nginx runs, and what it finds there."""

    directory: Path
    host: str
    port: int
    workers: int
    connections: int  # of one worker, to clients and servers together
    files: int  # descriptors of one worker
    user: str | None  # whose the workers are; None: of whoever starts it
    modules: Path  # of nginx
    lua_c: Path  # libraries of Lua: cjson
    body_bytes_max: int


def files(at: Surroundings) -> Mapping[str, str]:
    """By name, what has to lie in its folder."""
    listen = f"[{at.host}]:{at.port}" if ":" in at.host else f"{at.host}:{at.port}"
    said = {
        "USER": f"user {at.user};" if at.user else "",
        "WORKERS": str(at.workers),
        "FILES": str(at.files),
        "CONNECTIONS": str(at.connections),
        "HERE": str(at.directory),
        "PARTS": str(PARTS),
        "MODULES": str(at.modules),
        "LUA_C": str(at.lua_c),
        "LISTEN": listen,
    }
    text = TEMPLATE.read_text()
    for name, value in said.items():
        text = text.replace(f"@{name}@", value)
    return {
        "nginx.conf": text,
        "warm.conf": _locations(at.body_bytes_max),
        "told.json": json.dumps(told(), indent=1),
    }


def for_compose() -> Mapping[str, str]:
    """By name, what the nginx of the compose stack has beside its own configuration.

    How long a body may be is said there by the server around these locations, and by the daemon.
    """
    locations = "".join(
        f"location = {path} {{ include warm/{LOCATION}; include warm_errors.conf; }}\n"
        for path in warm_calls()
    )
    return {
        "warm_locations.conf": f"# Generated: make references\n\n{locations}",
        "told.json": json.dumps({**told(), **_of_llama_servers()}, indent=1) + "\n",
    }


def warm_calls() -> Mapping[str, Call]:
    """Those that nginx can carry, by their paths: the model is a member of a JSON object."""
    return {
        path: call
        for path, call in POSTS.items()
        if call.named_in is NamedIn.BODY and call.task not in REMEMBERED
    }


def told() -> Mapping[str, object]:
    """What nginx says and knows about requests."""
    return {
        "calls": {
            path: {
                "talks": call.task in TEXT_TASKS,
                "embeds": call.task is Task.EMBEDDINGS,
                "counts": call.task in IN_A_SLOT,
                "protocol": str(call.protocol),
                "broken": _event(broken(MODEL), call),
                "ended": _event(ended_by_operator(), call),
            }
            for path, call in warm_calls().items()
        },
        "refusals": {
            str(call.protocol): {
                str(why.code): _refusal(error_of_access(why), call) for why in _not_allowed()
            }
            for call in warm_calls().values()
        },
        "last_events": {path: _event(_gone(), call) for path, call in _streamed().items()},
        "last_event_beside": _event(_gone(), POSTS["/completion"]),
        "unavailable": encode(error_body(_unavailable(), PATH)).decode(),
    }


def _of_llama_servers() -> Mapping[str, object]:
    """What may be asked of one whose name leads to it without the daemon."""
    return {
        "questions": {method: sorted(paths) for method, paths in QUESTIONS.items()},
        "acting_gets": sorted(ACTING_GETS),
    }


def _locations(body_bytes_max: int) -> str:
    limit = f"client_max_body_size {body_bytes_max};"
    include = f"include {PARTS}/{LOCATION};"
    lines = (f"location = {path} {{ {limit} {include} }}\n" for path in warm_calls())
    return "".join(lines)


def _event(answer: ErrorAnswer, call: Call) -> str:
    return event_of(answer, call, PATH).decode()


def _streamed() -> Mapping[str, Call]:
    """What is answered by streams of the daemon, by its path."""
    of_ollama = {path: call for (method, path), call in OLLAMA_CALLS.items() if method == "POST"}
    return {**{path: call for path, call in POSTS.items() if call.in_a_slot}, **of_ollama}


def _refusal(answer: ErrorAnswer, call: Call) -> Mapping[str, object]:
    return {"status": answer.status, "text": encode(body_of(answer, call, PATH)).decode()}


def _not_allowed() -> tuple[NotAllowed, ...]:
    """What is said of a key while the daemon is away: it has more words of its own."""
    ask = "Ask who administers this daemon for another one."
    return (
        unauthorized(),
        NotAllowed(code=AccessCode.KEY_EXPIRED, detail=f"The key {KEY} has expired.", remedy=ask),
        NotAllowed(
            code=AccessCode.FORBIDDEN,
            detail=f"The key {KEY} is not for this model, or lacks the scope `use`.",
            remedy="Use a key with `--model` for it and `--scope use`.",
        ),
        NotAllowed(
            code=AccessCode.WRONG_NETWORK,
            detail=f"The key {KEY} is not for requests from here.",
            remedy="Its networks are those it was made for: `orchestrator keys list` shows them.",
        ),
        NotAllowed(
            code=AccessCode.PRIORITY_TOO_HIGH,
            detail=f"The key {KEY} may not ask with that priority.",
            remedy="Ask with a lower one.",
        ),
        NotAllowed(
            code=AccessCode.RATE_LIMITED,
            detail=f"The key {KEY} has as many requests as it may have.",
            remedy="Retry later; an admin can make a key with other limits.",
            retry_after_s=AFTER_S,
        ),
    )


def _gone() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.UNAVAILABLE,
        detail="The daemon broke off in the middle of this answer.",
        remedy="Ask again: models that are ready are served also without it.",
    )


def _unavailable() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.UNAVAILABLE,
        detail="The daemon does not answer; models that are ready are served without it.",
        remedy="Is it running? `orchestrator status` says; start it with `orchestrator serve`.",
    )
