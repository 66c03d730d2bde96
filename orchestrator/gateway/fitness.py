"""What a model cannot do, said before it is loaded for it."""

from orchestrator.core.values.specs import ModelSpec
from orchestrator.gateway.asked import Asked
from orchestrator.gateway.paths import Task
from orchestrator.gateway.planes import Abilities
from orchestrator.web.wire.error_answers import ErrorAnswer, WebCode

# No tokenizer makes so few tokens of a text: what has more bytes for each token of the context, a
# picture's apart, is refused.
BYTES_A_TOKEN_MAX = 16
PICTURES = (b'"image_url"', b'"input_image"', b'"type":"image"', b'"type": "image"')
TEXT_TASKS = frozenset({Task.CHAT, Task.COMPLETION, Task.RESPONSES})


def objection(spec: ModelSpec, asked: Asked, body: bytes) -> ErrorAnswer | None:
    """Only what is certain from what the catalogue knows; a server we do not own may do more."""
    if not spec.settings_ours or spec.file is None:
        return None
    task = asked.call.task
    if task is Task.EMBEDDINGS and not spec.serving.embeddings:
        return _cannot(
            spec,
            "makes no embeddings as it is configured",
            "Name an embedding model, or set `embeddings: true` for it.",
        )
    if task in TEXT_TASKS and spec.serving.embeddings:
        return _cannot(spec, "only makes embeddings", "Name a model that answers in text.")
    pictures = any(sign in body for sign in PICTURES)
    if task in TEXT_TASKS and pictures and spec.mmproj is None and spec.hub is None:
        return _cannot(
            spec,
            "sees no pictures: it has no projector",
            "Name a vision model, or give it `mmproj`.",
        )
    context = spec.wanted.context_size
    if task in TEXT_TASKS and not pictures and len(body) > context * BYTES_A_TOKEN_MAX:
        return _cannot(
            spec,
            f"has a context of {context} tokens, and {len(body)} bytes are more",
            "Send less, or configure a larger context_size.",
        )
    return None


def abilities(spec: ModelSpec) -> Abilities:
    """Within which no request meets an objection."""
    if not spec.settings_ours or spec.file is None:
        return Abilities()
    return Abilities(
        talks=not spec.serving.embeddings,
        embeds=spec.serving.embeddings,
        pictures=spec.mmproj is not None or spec.hub is not None,
        bytes_max=spec.wanted.context_size * BYTES_A_TOKEN_MAX,
    )


def _cannot(spec: ModelSpec, what: str, remedy: str) -> ErrorAnswer:
    return ErrorAnswer(code=WebCode.CANNOT, detail=f"{spec.name} {what}.", remedy=remedy)
