"""What there is, what runs, and what one model can do: /api/tags, /api/ps, /api/show."""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.catalogue.facts import ModelFacts
from orchestrator.core.values.residents import Resident
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs
from orchestrator.core.values.vram import DeviceId
from orchestrator.gateway.ollama.names import tagged
from orchestrator.web.wire import devices, shaping
from orchestrator.web.wire.instants import dated

# Clients take this for the version of Ollama whose API they may use: VS Code lists no models below
# 0.6.4 (capabilities in /api/show), and reads numbers and dots only, as Open WebUI does. This one
# is the first that speaks Anthropic's protocol too, which is answered here as well. Later ones can
# what is not: create models from files.
VERSION = "0.14.2"
FOR_EVER = "9999-12-31T23:59:59Z"  # Ollama's clients parse a date where nothing expires
NEVER = "0001-01-01T00:00:00Z"  # and one where nothing was modified

Json = dict[str, Any]


def tags(specs: ModelSpecs, facts: Mapping[ModelName, ModelFacts]) -> Json:
    """Every model of the catalogue, here or not: it comes when it is asked for."""
    return {"models": [_tag(spec, facts[name]) for name, spec in specs.items()]}


def _tag(spec: ModelSpec, facts: ModelFacts) -> Json:
    name = tagged(spec.name)
    return {
        "name": name,
        "model": name,
        "modified_at": _modified(facts),
        "size": facts.size_bytes,
        "digest": facts.digest,
        "details": facts.details,
    }


def ps(snapshot: Snapshot, facts: Mapping[ModelName, ModelFacts]) -> Json:
    """What is loaded, with what it was measured to hold."""
    host = devices.host_devices(snapshot.accounts)
    return {"models": [_running(r, host, facts[r.name]) for r in running(snapshot)]}


def running(snapshot: Snapshot) -> Iterable[Resident]:
    return shaping.residents_by_name(snapshot).values()


def _running(resident: Resident, host: frozenset[DeviceId], facts: ModelFacts) -> Json:
    name = tagged(resident.name)
    shares = resident.placement.shares
    serving = shaping.serving_of(resident.spec)
    context = {"context_length": serving["context_size"]} if serving is not None else {}
    return {
        "name": name,
        "model": name,
        "size": resident.placement.total_bytes,
        "digest": facts.digest,
        "details": facts.details,
        "expires_at": shaping.expiry(resident) or FOR_EVER,
        "size_vram": sum(share for at, share in shares if at not in host),
        **context,
    }


def show(spec: ModelSpec, facts: ModelFacts) -> Json:
    serving = spec.serving
    parameters = [f"num_ctx {serving.context_size}"] if spec.settings_ours else []
    if serving.max_tokens is not None:
        parameters.append(f"num_predict {serving.max_tokens}")
    return {
        "license": _text(facts.info.get("general.license")),
        "modelfile": f"# {spec.name} stands in the catalogue of the orchestrator, not in a file.\n",
        "parameters": "\n".join(parameters),
        "template": facts.template,
        "details": facts.details,
        "model_info": dict(facts.info),  # clients fail where it is missing
        "capabilities": list(facts.capabilities),
        "modified_at": _modified(facts),
    }


def _modified(facts: ModelFacts) -> str:
    return NEVER if facts.modified_s is None else dated(facts.modified_s)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
