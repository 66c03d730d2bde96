"""One request of Ollama's, understood: for which model, whether it can, and what it is asked."""

import asyncio
from dataclasses import dataclass, replace

from orchestrator.catalogue.facts import FactSheets
from orchestrator.core.values.specs import ModelSpec
from orchestrator.desk.desk import Desk
from orchestrator.gateway.asked import Asked, Headers
from orchestrator.gateway.client_request import ClientRequest
from orchestrator.gateway.exchange import Exchanges
from orchestrator.gateway.fitness import objection
from orchestrator.gateway.ollama.fitness import beyond, larger_context
from orchestrator.gateway.ollama.names import meant
from orchestrator.gateway.ollama.options import IGNORED_HEADER
from orchestrator.gateway.ollama.requests import OllamaRequest
from orchestrator.gateway.ollama.translation import TASKS, Translated
from orchestrator.gateway.paths import Call, FoundCall, NamedIn, Protocol
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuestion:
    asked: Asked
    body: bytes
    headers: Headers  # of the answer: what was left out of the question
    kept_s: float | None  # idle seconds after which its model may leave


async def question_of(
    request: ClientRequest,
    wanted: OllamaRequest,
    translated: Translated,
    *,
    desk: Desk,
    exchanges: Exchanges,
    facts: FactSheets,
) -> ModelQuestion:
    """Raise Answered or Denied, before anything is loaded for it."""
    name = meant(wanted.called, desk.catalogue)
    call = Call(TASKS[translated.kind], Protocol.OLLAMA, NamedIn.PATH)
    streams = "stream" in translated.body
    asked = request.translated(FoundCall(call, translated.kind, model=name), streams=streams)
    request.run.asked = wanted.called
    specs = exchanges.candidates(asked)
    body = encode({"model": specs[0].name, **translated.body})
    wrong = [
        objection(spec, asked, body) or await _beyond(spec, translated, facts) for spec in specs
    ]
    if all(wrong) and wrong[0] is not None:
        raise Answered(wrong[0])
    size = translated.settings.context_size
    return ModelQuestion(
        asked=replace(asked, context_size=larger_context(specs[0], size)),
        body=body,
        headers=_told(specs[0], translated),
        kept_s=translated.kept_s,
    )


async def _beyond(spec: ModelSpec, asked: Translated, facts: FactSheets) -> ErrorAnswer | None:
    if not asked.demands:
        return None
    return beyond(spec, await asyncio.to_thread(facts.of, spec), asked)  # its files are looked at


def _told(spec: ModelSpec, asked: Translated) -> Headers:
    """Which options came to nothing."""
    ignored = list(asked.settings.ignored)
    if asked.settings.context_size is not None and not spec.settings_ours:
        ignored.append("num_ctx")  # whoever defined its server chose it
    if not ignored:
        return []
    names = ", ".join(ignored).encode("ascii", "replace")
    return [(IGNORED_HEADER.lower().encode(), _printable(names))]


def _printable(names: bytes) -> bytes:
    """No option's name ends a header's line."""
    return bytes(byte if 0x20 <= byte < 0x7F else 0x3F for byte in names)
