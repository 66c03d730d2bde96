"""A conversation cut to a context: the system message stays, and the newest turns that fit.

Tokens are counted by the model's own server: its chat template is applied, and the text it makes
is cut into tokens. Pictures have no text there, and are not counted.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from orchestrator.client.errors import ContextTooSmall, NotChosen
from orchestrator.client.exchanges import Ask, Exchange, Heard, Pause, Retries, answered, understood
from orchestrator.client.generations import GENERATION_S, Message

HEAD_ROLES = ("system", "developer")
ANSWER_TOKENS = 1024  # of a context are left for the answer, unless the caller says otherwise


def turns(
    messages: Sequence[Message],
) -> tuple[tuple[Message, ...], tuple[tuple[Message, ...], ...]]:
    """What stays in any case, and the turns: what a user says with all that answers it.

    A tool's result is never parted from the call that it answers.
    """
    start = 0
    while start < len(messages) and messages[start].get("role") in HEAD_ROLES:
        start += 1
    found: list[list[Message]] = []
    for message in messages[start:]:
        if message.get("role") == "user" or not found:
            found.append([])
        found[-1].append(message)
    return tuple(messages[:start]), tuple(tuple(turn) for turn in found)


def trimmed_to(
    messages: Sequence[Message],
    model: str | None,
    context_tokens: int | None,
    answer_tokens: int,
    retries: Retries,
) -> Exchange[list[Message]]:
    """To a context that leaves room for an answer; None: the model's."""
    if context_tokens is None:
        context_tokens = yield from context_size(model, retries)
    return (yield from trimmed(messages, model, room(context_tokens, answer_tokens), retries))


def trimmed(
    messages: Sequence[Message], model: str | None, room_tokens: int, retries: Retries
) -> Exchange[list[Message]]:
    """Raise ContextTooSmall where the newest turn does not fit."""
    head, said = turns(messages)

    def newest(count: int) -> list[Message]:
        return [*head, *(message for turn in said[len(said) - count :] for message in turn)]

    def tokens(count: int) -> Generator[Ask | Pause, Heard | None, int]:
        return (yield from token_count(newest(count), model, retries))

    if (yield from tokens(len(said))) <= room_tokens:
        return newest(len(said))
    fits, does_not = min(1, len(said)), len(said)
    if (needed := (yield from tokens(fits))) > room_tokens:
        raise ContextTooSmall(needed, room_tokens)
    while does_not - fits > 1:
        middle = (fits + does_not) // 2
        if (yield from tokens(middle)) <= room_tokens:
            fits = middle
        else:
            does_not = middle
    return newest(fits)


def token_count(messages: Sequence[Message], model: str | None, retries: Retries) -> Exchange[int]:
    named = {} if model is None else {"model": model}
    listed = [dict(message) for message in messages]
    template = Ask(
        method="POST",
        path="/apply-template",
        body={**named, "messages": listed},
        timeout_s=GENERATION_S,  # the model may have to be loaded for it
    )
    prompt = understood((yield from answered(template, retries)), lambda body: str(body["prompt"]))
    cut = Ask(
        method="POST",
        path="/tokenize",
        body={**named, "content": prompt, "add_special": True, "parse_special": True},
        timeout_s=GENERATION_S,
    )
    return understood((yield from answered(cut, retries)), lambda body: len(body["tokens"]))


def context_size(model: str | None, retries: Retries) -> Exchange[int]:
    """Of one request to the model, as it is loaded or would be. Raise NotChosen if nobody knows."""
    if model is None:
        raise NotChosen("It is not said whose context is meant.", "Name a model, or context_size.")
    ask = Ask(method="GET", path=f"/models/{quote(model, safe='')}")
    size = understood((yield from answered(ask, retries)), _context_size)
    if size is None:
        raise NotChosen(
            f"The context of {model} is not the orchestrator's to choose.", "Name context_size."
        )
    return size


def _context_size(body: Mapping[str, Any]) -> int | None:
    resident = body["resident"] or {}
    serving = resident.get("serving") or body["serving"] or {}
    size = serving.get("context_size", body["context_size"])
    return None if size is None else int(size)


def room(context_tokens: int, answer_tokens: int) -> int:
    """What a conversation may take. Raise NotChosen where the answer takes it all."""
    left = context_tokens - answer_tokens
    if left <= 0:
        raise NotChosen(
            f"An answer of {answer_tokens} tokens leaves nothing of {context_tokens}.",
            "Ask for a shorter one, or load the model with a larger context_size.",
        )
    return left
