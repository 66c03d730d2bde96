"""What a model cannot do of what Ollama's clients ask, said before it is loaded for it."""

from orchestrator.catalogue.facts import THINKING, TOOLS, VISION, ModelFacts
from orchestrator.core.values.specs import ModelSpec
from orchestrator.gateway.ollama.translation import Translated
from orchestrator.web.wire.error_answers import ErrorAnswer, WebCode


def beyond(spec: ModelSpec, facts: ModelFacts, asked: Translated) -> ErrorAnswer | None:
    """Only what is certain: where its files are not read here, its server says so."""
    if asked.pictures and not facts.can(VISION):
        return _cannot(spec, "sees no pictures", "Name a vision model, or give it `mmproj`.")
    if asked.tools and not facts.can(TOOLS):
        return _cannot(
            spec,
            "does not support tools: its chat template has no place for them",
            'Name a model with "tools" among the capabilities of /api/show.',
        )
    if asked.thinks and not facts.can(THINKING):
        return _cannot(
            spec,
            "does not support thinking",
            'Leave think out, or name a model with "thinking" among its capabilities.',
        )
    size, most = asked.settings.context_size, facts.trained_context
    if size is not None and most is not None and size > most and spec.settings_ours:
        return _cannot(
            spec, f"was made for {most} tokens, and num_ctx is {size}", f"num_ctx: {most} at most."
        )
    return None


def larger_context(spec: ModelSpec, size: int | None) -> int | None:
    """The context to load it with, if that is more than it has anyway.

    A smaller one is no reason to have a model loaded anew for each of two clients.
    """
    if size is None or not spec.settings_ours or size <= spec.serving.context_size:
        return None
    return size


def _cannot(spec: ModelSpec, what: str, remedy: str) -> ErrorAnswer:
    return ErrorAnswer(code=WebCode.CANNOT, detail=f"{spec.name} {what}.", remedy=remedy)
