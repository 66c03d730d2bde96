"""One request of Ollama's, as what a model server is asked.

A request without anything to answer is an order about the model alone: to load it, or with
`keep_alive: 0` to let it go.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.gateway.ollama import chats
from orchestrator.gateway.ollama.keep_alive import idle_s
from orchestrator.gateway.ollama.options import AnswerSettings, understood
from orchestrator.gateway.ollama.requests import (
    ChatWanted,
    OllamaRequest,
    TextWanted,
    VectorsWanted,
    VectorWanted,
    invalid,
)
from orchestrator.gateway.paths import Task
from orchestrator.web.wire.error_answers import Answered

CHAT, COMPLETION, INFILL, EMBEDDINGS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/infill",
    "/v1/embeddings",
)

TASKS: Mapping[str, Task] = {
    CHAT: Task.CHAT,
    COMPLETION: Task.COMPLETION,
    INFILL: Task.COMPLETION,
    EMBEDDINGS: Task.EMBEDDINGS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Translated:
    """What to ask of which path; without a path, only the model itself is wanted."""

    path: str | None
    kind: str  # the path that something would be asked of
    body: Mapping[str, Any]
    settings: AnswerSettings
    kept_s: float | None  # idle seconds after which the model may leave; None: as configured
    pictures: bool = False
    tools: bool = False
    thinks: bool = False

    @property
    def demands(self) -> bool:
        """Something that not every model can do."""
        size = self.settings.context_size
        return self.pictures or self.tools or self.thinks or size is not None

    @property
    def lets_go(self) -> bool:
        """Nothing is asked, and the model need not stay."""
        return self.path is None and self.kept_s == 0


def of_chat(wanted: ChatWanted) -> Translated:
    """Raise Answered for what makes no sense."""
    messages = chats.messages_of(wanted.messages or ())
    return _asked(
        wanted,
        CHAT,
        bool(messages),
        {
            "messages": messages,
            **({"tools": list(wanted.tools)} if wanted.tools else {}),
            **chats.answer_format(_format(wanted)),
            **chats.thinking(wanted.think, messages),
            **chats.likelihoods(wanted.logprobs, wanted.top_logprobs),
        },
        pictures=any(message.images for message in wanted.messages or ()),
        tools=bool(wanted.tools),
        thinks=bool(wanted.think),
    )


def of_text(wanted: TextWanted) -> Translated:
    """Raise Answered for what makes no sense, or what only Ollama can do."""
    if wanted.template:
        raise Answered(
            invalid(
                "template is written in the language of Ollama's own; models here have theirs.",
                "Leave it out, or send the finished prompt with raw: true.",
            )
        )
    prompt, images = wanted.prompt or "", wanted.images
    if not prompt:
        return _asked(wanted, CHAT, False, {})
    if wanted.suffix:
        body = {"input_prefix": prompt, "input_suffix": wanted.suffix, "prompt": ""}
        return _asked(wanted, INFILL, True, body)
    if wanted.raw:
        if images or wanted.system:
            raise Answered(invalid("raw takes neither system nor images: all is in the prompt."))
        body = {"prompt": prompt, **chats.answer_format(_format(wanted))}
        return _asked(wanted, COMPLETION, True, body)
    messages = chats.question(prompt, wanted.system, images)
    return _asked(
        wanted,
        CHAT,
        True,
        {
            "messages": messages,
            **chats.answer_format(_format(wanted)),
            **chats.thinking(wanted.think, messages),
            **chats.likelihoods(wanted.logprobs, wanted.top_logprobs),
        },
        pictures=bool(images),
        thinks=bool(wanted.think),
    )


def of_vectors(wanted: VectorsWanted) -> Translated:
    texts = [wanted.input] if isinstance(wanted.input, str) else list(wanted.input or ())
    if texts == [""]:
        texts = []
    return _asked(wanted, EMBEDDINGS, bool(texts), {"input": texts})


def of_vector(wanted: VectorWanted) -> Translated:
    prompt = wanted.prompt or ""
    return _asked(wanted, EMBEDDINGS, bool(prompt), {"input": [prompt]})


def _asked(
    wanted: OllamaRequest,
    kind: str,
    something: bool,
    body: Mapping[str, Any],
    *,
    pictures: bool = False,
    tools: bool = False,
    thinks: bool = False,
) -> Translated:
    settings = understood(wanted.options)
    if isinstance(wanted, TextWanted) and wanted.context:
        # Ollama has given it up as well; no answer of ours carries one to be sent back.
        settings = replace(settings, ignored=("context", *settings.ignored))
    streams = wanted.streams and something and kind != EMBEDDINGS
    stream = {"stream": True, "stream_options": {"include_usage": True}} if streams else {}
    parameters = {} if kind == EMBEDDINGS else settings.parameters
    return Translated(
        path=kind if something else None,
        kind=kind,
        body={**parameters, **body, **stream},
        settings=settings,
        kept_s=_kept_s(wanted),
        pictures=pictures,
        tools=tools,
        thinks=thinks,
    )


def _format(wanted: ChatWanted | TextWanted) -> Mapping[str, Any] | str | None:
    """n8n's node puts it into the options."""
    return wanted.format or (wanted.options or {}).get("format")


def _kept_s(wanted: OllamaRequest) -> float | None:
    """n8n's node puts it into the options."""
    said = (wanted.options or {}).get("keep_alive")
    if wanted.keep_alive is not None or said is None:
        return wanted.keep_alive
    try:
        return idle_s(said)
    except (TypeError, ValueError) as error:
        raise Answered(invalid(f"options.keep_alive {error}.")) from error
