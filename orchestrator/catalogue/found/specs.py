"""From a find to a model of the catalogue: settings by its header, and what may be given up."""

import os
from dataclasses import replace
from pathlib import Path

from typing_extensions import TypedDict

from orchestrator.catalogue.found.finds import Find
from orchestrator.catalogue.found.seen import PlaceKind
from orchestrator.config.engines import kind_of
from orchestrator.config.loading import Config
from orchestrator.config.models import Estimate, build_spec, failed_for
from orchestrator.config.sections import ModelEntry, RuntimeName, ServiceEntry
from orchestrator.config.services import launches_files
from orchestrator.config.yaml_lines import show
from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.specs import Degrading, ModelName, ModelSpec, ServiceName
from orchestrator.gguf.architecture import architecture_of
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Header

# What a model that nobody configured is given, if it was trained for that much: enough for tools
# and documents, and less where that does not fit. A declared model may have more.
CONTEXT_MAX = 16384
CONTEXT_UNSAID = 4096  # of a header that does not say what it was trained for
EMBEDDED_AT_ONCE_MAX = 2048  # tokens of one text: the whole of it has to go through at once

_REMEDY = "Replace it or take it away."
_NO_SERVICE = "Add a service with engine: llama_cpp or xllamacpp to the configuration."


def found_spec(find: Find, config: Config, estimate: Estimate) -> ModelSpec:
    """As failed where its files, or what they say, keep it from being loaded. Blocking."""
    home = config.home
    service = None if home is None else config.service(home)
    if service is None or home is None or not launches_files(service):
        return _failed(find, home, "no service here runs GGUF files", _NO_SERVICE)
    header = find.files.header
    if find.files.problem is not None or header is None:
        return _failed(find, home, find.files.problem or "it could not be read")
    try:
        entry = entry_of(find, header, home, service)
    except GgufError as error:
        return _failed(find, home, f"cannot be used: {error}")
    built = build_spec(find.name, entry, readable(find, service), estimate)
    spec = replace(built.draft, found=True)
    if built.mistakes:
        said = "; ".join(f"{show(wrong.where)} {wrong.sentence}" for wrong in built.mistakes)
        return _failed(find, home, said)
    return spec


def entry_of(find: Find, header: Header, home: str, service: ServiceEntry) -> ModelEntry:
    """What the operator would write for it. Raise GgufError where the header says too little."""
    pools = header.metadata.get(f"{header.architecture}.pooling_type")
    on_processor = not kind_of(service).on_gpus
    told = by_header(
        header.architecture,
        architecture_of(header).trained_context,
        pools if isinstance(pools, int) else None,
        on_processor=on_processor,
        context=find.files.first.context_size,
    )
    shorter = () if told["embeddings"] else (Degrading.CONTEXT_SIZE,)
    return ModelEntry(
        service=home,
        file=str(find.path),
        mmproj=None if find.projector is None else str(find.projector),
        degrade=(*shorter, *(() if on_processor else (Degrading.GPU_LAYERS,))),
        **told,
    )


class ByHeader(TypedDict):
    """Keys of a model's entry."""

    context_size: int
    gpu_layers: int | None
    embeddings: bool
    batch: int | None
    ubatch: int | None


def by_header(
    architecture: str,
    trained: int | None,
    pools: int | None,
    *,
    on_processor: bool,
    context: int | None = None,
) -> ByHeader:
    """The settings that its header asks for; `context` is what somebody asks for."""
    size = min(context or CONTEXT_MAX, trained or CONTEXT_UNSAID)
    vectors = embeds(architecture, pools)
    at_once = min(size, EMBEDDED_AT_ONCE_MAX) if vectors else None
    return {
        "context_size": size,
        "gpu_layers": 0 if on_processor else None,
        "embeddings": vectors,
        "batch": at_once,
        "ubatch": at_once,
    }


def embeds(architecture: str, pools: int | None) -> bool:
    """Whether it makes vectors of texts, and no texts."""
    return "bert" in architecture or architecture == "gemma-embedding" or bool(pools)


def readable(find: Find, service: ServiceEntry) -> ServiceEntry:
    """The service as the operator lets it read this find: where a link leads to is his choice, as
    long as the server sees it.
    """
    if service.runtime is RuntimeName.PROCESS:
        paths = (find.path, *(() if find.projector is None else (find.projector,)))
        roots = tuple(os.path.realpath(path) for path in paths)
    elif find.files.first.place.kind is PlaceKind.HUGGING_FACE:
        roots = (str(find.files.first.place.path),)  # its containers have it too
    else:
        roots = ()
    return replace(service, allowed_roots=(*service.allowed_roots, *roots))


def identity_of(path: str) -> tuple[int, int] | None:
    """The same for all names of one file; None if there is none. Blocking."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _failed(find: Find, home: str | None, words: str, remedy: str = _REMEDY) -> ModelSpec:
    draft = ModelSpec(
        name=ModelName(find.name),
        service=ServiceName(home or "none"),
        footprint=UNKNOWN,
        settings_ours=False,
        found=True,
    )
    return failed_for(draft, (f"{find.path} {words}",), FailureReason.MODEL_FILE, remedy)
