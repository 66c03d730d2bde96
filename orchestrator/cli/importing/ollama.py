"""The models of Ollama's store as ours: its blobs are GGUF files, which its manifests name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from orchestrator.catalogue.found.ollama_store import (
    ADAPTER,
    MODEL,
    PARAMETERS,
    PROJECTOR,
    Manifest,
    stores,
)
from orchestrator.catalogue.found.sweeping import manifests
from orchestrator.cli.importing.drafts import Draft, DraftModel, Keys, named
from orchestrator.cli.importing.llama_swap import NotRead
from orchestrator.cli.importing.servers import local_server
from orchestrator.config.engines import LLAMA_CPP
from orchestrator.config.scalars import CONTEXT_SIZE_MAX
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.reader import read_header

BLOB_BYTES_MAX = 1 << 20  # of what is read: parameters, never weights

_WITHOUT = {
    "template": "its template is left out: the file's own is used",
    "system": "its system prompt is left out: send it as the first message",
    "messages": "its example messages are left out: send them before the others",
}
# Parameters that llama-server has a flag for: what a request says wins over it, as with Ollama.
_FLAGS = {
    "temperature": "--temp",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "min_p": "--min-p",
    "typical_p": "--typical",
    "seed": "--seed",
    "repeat_penalty": "--repeat-penalty",
    "repeat_last_n": "--repeat-last-n",
    "presence_penalty": "--presence-penalty",
    "frequency_penalty": "--frequency-penalty",
    "num_keep": "--keep",
    "mirostat": "--mirostat",
    "mirostat_eta": "--mirostat-lr",
    "mirostat_tau": "--mirostat-ent",
}
_KEYS = {
    "num_ctx": ("context_size", 1, CONTEXT_SIZE_MAX),
    "num_batch": ("batch", 1, 1 << 16),
    "num_thread": ("threads", 1, 1024),
    "num_predict": ("max_tokens", 1, CONTEXT_SIZE_MAX),
}
ALL_LAYERS = 99


def store_of(folder: Path | None, environ: Mapping[str, str]) -> Path:
    """Raise NotRead: there is none."""
    places = (folder,) if folder else stores(environ)
    for place in places:
        if (place / "manifests").is_dir():
            return place.absolute()
    looked = " or ".join(str(place) for place in places)
    raise NotRead(f"There is no store of Ollama's at {looked}: name its folder, or OLLAMA_MODELS.")


def imported(folder: Path | None, environ: Mapping[str, str]) -> Draft:
    """Raise NotRead: there is no store."""
    store = store_of(folder, environ)
    draft = Draft(head=(f"From Ollama's store in {store}.",))
    draft.sections["state_dir"] = "./state"
    put_models(draft, store)
    if not draft.models:
        draft.note(f"{store} holds no model whose weights are a GGUF file")
    return draft


def put_models(draft: Draft, store: Path) -> int:
    """The store's models into the draft. Say how many. Never raises."""
    server = local_server()
    service: Keys = {**server.keys, "allowed_roots": [str(store / "blobs")]}
    count = 0
    for said in manifests(store):
        model = _model(said, store / "blobs", draft, flags=server.engine == LLAMA_CPP)
        if model is None:
            continue
        name = named(said.name, draft.models)
        model.keys = {"service": draft.service("ollama-files", service), **model.keys}
        draft.models[name] = model
        count += 1
        if name != said.called:
            draft.note(f"is {said.called!r} there, which is no name here", name)
    return count


def _json(path: Path) -> object:
    try:
        if path.stat().st_size > BLOB_BYTES_MAX:
            return None
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _model(said: Manifest, blobs: Path, draft: Draft, *, flags: bool) -> DraftModel | None:
    def left_out(why: str) -> None:
        draft.note(f"is left out: {why}", said.called)

    weights = said.blobs.get(MODEL, ())
    if len(weights) != 1:
        left_out("its weights are not one GGUF file here" if weights else "it has no weights here")
        return None
    try:
        read_header(blobs / weights[0])
    except GgufError as error:
        left_out(str(error))
        return None
    keys: Keys = {"file": str(blobs / weights[0])}
    if projectors := said.blobs.get(PROJECTOR):
        keys["mmproj"] = str(blobs / projectors[0])
    if adapters := said.blobs.get(ADAPTER):
        keys["lora"] = [str(blobs / adapter) for adapter in adapters]
    for kind, sentence in _WITHOUT.items():
        if said.blobs.get(kind):
            draft.note(sentence, said.called)
    parameters: dict[str, object] = {}
    for blob in said.blobs.get(PARAMETERS, ()):
        told = _json(blobs / blob)
        parameters |= told if isinstance(told, dict) else {}
    _put_parameters(parameters, keys, said.called, draft, flags=flags)
    return DraftModel(keys)


def _put_parameters(
    parameters: Mapping[str, object], keys: Keys, called: str, draft: Draft, *, flags: bool
) -> None:
    extra_args: list[str] = []
    without: list[str] = []
    for name, value in parameters.items():
        if name in _KEYS:
            key, least, most = _KEYS[name]
            if isinstance(value, int) and least <= value <= most:
                keys[key] = value
        elif name == "num_gpu" and isinstance(value, int):
            if 0 <= value < ALL_LAYERS:
                keys["gpu_layers"] = value
        elif name == "use_mmap" and value is False:
            keys["load_mode"] = "none"
        elif name == "use_mlock" and value is True:
            keys["load_mode"] = "mlock"
        elif name in _FLAGS and flags and isinstance(value, int | float):
            extra_args += [_FLAGS[name], f"{value:g}" if isinstance(value, float) else str(value)]
        elif name not in {"use_mmap", "use_mlock"}:
            without.append(name)
    ubatch = keys.get("batch")
    if isinstance(ubatch, int) and ubatch < 512:
        keys["ubatch"] = ubatch
    if extra_args:
        keys["extra_args"] = list(extra_args)
    if without:
        draft.note(f"{', '.join(without)}: left out, for requests to say", called)
