"""How much a model may write for a request of a key that has a ceiling (`max_tokens`).

A request that asks for more is refused: an answer that ends earlier than its client has asked for
looks like a mistake of the model. One that says nothing is told so much, which it hears of by its
answer's `finish_reason`. What is passed on is written anew from what was read, so that its server
does not read another number out of it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic_core import from_json, to_json

from orchestrator.access.keys.decision import no_bound_there, too_many_tokens
from orchestrator.access.keys.record import ApiKey
from orchestrator.access.rights import Forbidden, Rights
from orchestrator.gateway.asked import Asked
from orchestrator.gateway.forms import field, with_field
from orchestrator.gateway.members import DECODED_BYTES_MAX, NotAnObject, check_parts
from orchestrator.gateway.paths import POSTS, Call, NamedIn, Protocol, Task
from orchestrator.web.guard import READING_METHODS
from orchestrator.web.held_bodies import decoded_bytes

# What servers take for the most tokens of an answer.
NUMBERS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
ANSWERS = ("n", "best_of", "n_cmpl")  # how many answers are written
WRITING = frozenset({Task.CHAT, Task.COMPLETION, Task.RESPONSES})
Body = bytes | AsyncIterator[bytes]


def goes_on_as_it_comes(call: Call, rights: Rights) -> bool:
    """A body that nobody here has to read: no model is named in it, and no bound is written in."""
    has_ceiling = rights.key is not None and rights.key.max_tokens is not None
    return call.named_in is NamedIn.PATH and not has_ceiling


def no_tunnel(rights: Rights) -> None:
    """Raise Forbidden: what goes through a WebSocket is not read."""
    if rights.key is not None and rights.key.max_tokens is not None:
        raise Forbidden(no_bound_there(rights.key, "a WebSocket"))


def bytes_to_bind(asked: Asked, body: bytes) -> int:
    """What it takes to write the bound of its key into it. Raise Forbidden."""
    key = asked.rights.key
    if key is None or key.max_tokens is None or (call := _bounded_call(key, asked)) is None:
        return 0
    return len(body) if _form_of(asked, call) is not None else decoded_bytes(body)


async def within_ceiling(asked: Asked, body: Body) -> Body:
    """What may be passed on. Raise Forbidden."""
    key = asked.rights.key
    if key is None or key.max_tokens is None or (call := _bounded_call(key, asked)) is None:
        return body
    if not isinstance(body, bytes):
        raise Forbidden(no_bound_there(key, "a body that comes in pieces"))
    if (kind := _form_of(asked, call)) is not None:
        return bounded_form(key, key.max_tokens, kind, body)
    if len(body) > DECODED_BYTES_MAX:
        return await asyncio.to_thread(bounded, key, key.max_tokens, call, body)
    return bounded(key, key.max_tokens, call, body)


def _bounded_call(key: ApiKey, asked: Asked) -> Call | None:
    """What a bound is to be written into; None: what it asks writes no tokens. Raise Forbidden."""
    call = asked.call
    if call.task is Task.RAW:
        path = asked.target.partition("?")[0]
        if asked.method in READING_METHODS:
            return None
        if asked.method != "POST" or (known := POSTS.get(path)) is None:
            raise Forbidden(no_bound_there(key, f"{asked.method} {path}"))
        call = known
    return call if call.task in WRITING or call.task is Task.TRANSCRIPTION else None


def _form_of(asked: Asked, call: Call) -> bytes | None:
    """How a form with a sound in it says that it is one."""
    kind = dict(reversed(asked.headers)).get(b"content-type", b"")
    is_form = call.task is Task.TRANSCRIPTION and kind.strip().startswith(b"multipart/")
    return kind if is_form else None


def bounded(key: ApiKey, ceiling: int, call: Call, body: bytes) -> bytes:
    """The same request, with its bound. Raise Forbidden."""
    try:
        check_parts(body)
        said = from_json(body)
    except (NotAnObject, ValueError) as error:
        raise Forbidden(no_bound_there(key, "a body that is no JSON")) from error
    if not isinstance(said, dict):
        raise Forbidden(no_bound_there(key, "a body that is no object"))
    answers = _answers(key, said)
    for name in NUMBERS:
        number = said.get(name)
        if number is None:
            said.pop(name, None)
        elif not _is_count(number, 0) or number * answers > ceiling:
            raise Forbidden(too_many_tokens(key, _in_words(name, number, answers)))
    if answers > ceiling:
        raise Forbidden(too_many_tokens(key, f"{answers} answers"))
    if not any(name in said for name in _heeded(call)):
        said[_heeded(call)[0]] = ceiling // answers
    return to_json(said)


def bounded_form(key: ApiKey, ceiling: int, kind: bytes, body: bytes) -> bytes:
    """The same, of a sound that is to be put into words: a model that talks writes what it is told
    to beside it. Raise Forbidden.
    """
    number = NUMBERS[0]
    times = body.count(number.encode())
    if times == 0:
        bound = with_field(number, str(ceiling), body, kind)
        if bound is None:
            raise Forbidden(no_bound_there(key, "a form without its boundary"))
        return bound
    said = field(number, body, kind)
    if times > 1 or said is None or not said.isdecimal() or len(said) > len(str(ceiling)):
        raise Forbidden(too_many_tokens(key, f"what a form says of {number}"))
    if int(said) > ceiling:
        raise Forbidden(too_many_tokens(key, f"{number}: {said}"))
    return body


def _heeded(call: Call) -> tuple[str, ...]:
    """The members that count for this call; the first is the one to set."""
    if call.task is Task.RESPONSES:
        return ("max_output_tokens",)
    if call.protocol is Protocol.LLAMA:
        return ("n_predict",)
    if call.task is Task.CHAT and call.protocol is Protocol.OPENAI:
        return ("max_tokens", "max_completion_tokens")
    return ("max_tokens",)


def _answers(key: ApiKey, said: Mapping[str, Any]) -> int:
    """How many a request has written: for each of several prompts, and of each several."""
    wanted = 1
    for name in ANSWERS:
        number = said.get(name)
        if number is None:
            continue
        if not _is_count(number, 1):
            raise Forbidden(too_many_tokens(key, _in_words(name, number, 1)))
        wanted = max(wanted, number)
    prompt = said.get("prompt")
    if isinstance(prompt, list) and any(not isinstance(one, int) for one in prompt):
        return wanted * len(prompt)
    return wanted


def _is_count(number: object, least: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= least


def _in_words(name: str, number: object, answers: int) -> str:
    text = repr(number)[:40]
    return f"{name}: {text}" if answers == 1 else f"{name}: {text} for each of {answers} answers"
