"""What a manifest of Ollama's store says of a model: its name, and which blobs are its files."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

MANIFEST_BYTES_MAX = 64 << 10  # they are of about one kilobyte

# Beside a user's own: those of the service, by Ollama's installer and by distributions.
_STORES = (
    "/usr/share/ollama/.ollama/models",
    "/var/lib/ollama/.ollama/models",
    "/var/lib/ollama/models",
)
_KIND = "application/vnd.ollama.image."
MODEL, PROJECTOR, ADAPTER, PARAMETERS = "model", "projector", "adapter", "params"
_REGISTRY, _LIBRARY, _LATEST = "registry.ollama.ai", "library", "latest"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9._@-]+", re.ASCII)


def stores(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a store may be: where OLLAMA_MODELS says, else where they usually are."""
    if named := environ.get("OLLAMA_MODELS"):
        return (Path(named).expanduser(),)
    home = Path(environ.get("HOME") or "~").expanduser()
    return (home / ".ollama" / "models", *map(Path, _STORES))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one manifest names."""

    name: str  # as the catalogue has it
    called: str  # as Ollama's clients call it
    blobs: Mapping[str, tuple[str, ...]]  # the files' names among the blobs, by what they hold


def manifest_of(place: PurePath, text: bytes) -> Manifest | None:
    """None: it is none. `place` is relative to all of them: HOST/NAMESPACE/MODEL/TAG."""
    if len(place.parts) < 3:
        return None
    blobs: dict[str, tuple[str, ...]] = {}
    try:
        for layer in json.loads(text)["layers"]:
            kind, digest = layer["mediaType"], _DIGEST.fullmatch(layer["digest"])
            if kind.startswith(_KIND) and digest is not None:
                holds = kind.removeprefix(_KIND)
                blobs[holds] = (*blobs.get(holds, ()), f"sha256-{digest[1]}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Manifest(_name(place), _called(place), blobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    name: str
    blob: str  # the file's name among the blobs
    projector: str | None = None
    context_size: int | None = None
    problem: str | None = None


def stored_model(
    place: PurePath, manifest: bytes, parameters: Callable[[str], bytes]
) -> StoredModel | None:
    """None: it is no manifest of a model with GGUF weights. `parameters` reads a blob."""
    said = manifest_of(place, manifest)
    if said is None or not (models := said.blobs.get(MODEL, ())):
        return None
    problem = None
    if len(models) > 1:
        problem = "is in several blobs, which only Ollama puts together"
    elif ADAPTER in said.blobs:
        problem = "has an adapter of Ollama's, which is not used: write the model with `lora`"
    told = said.blobs.get(PARAMETERS)
    return StoredModel(
        name=said.name,
        blob=models[0],
        projector=next(iter(said.blobs.get(PROJECTOR, ())), None),
        context_size=_context(parameters(told[0])) if told else None,
        problem=problem,
    )


def _name(place: PurePath) -> str:
    """As Ollama lists it, but for slashes: `llama3.2:3b`, `llama3.2` for its `latest`."""
    *before, model, tag = place.parts
    host, *namespace = before
    words = [] if host == _REGISTRY else [host] if not namespace else []
    words += [word for word in namespace if word != _LIBRARY]
    name = "-".join(_UNNAMEABLE.sub("-", word) for word in (*words, model))
    return name if tag == _LATEST else f"{name}:{_UNNAMEABLE.sub('-', tag)}"


def _called(place: PurePath) -> str:
    *before, model, tag = place.parts
    words = [word for word in before if word not in {_REGISTRY, _LIBRARY}]
    name = "/".join([*words, model])
    return name if tag == _LATEST else f"{name}:{tag}"


def _context(text: bytes) -> int | None:
    try:
        context = json.loads(text)["num_ctx"]
    except (ValueError, KeyError, TypeError):
        return None
    return context if isinstance(context, int) and context > 0 else None
