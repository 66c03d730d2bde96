"""From the files of one model and the settings of its server to what it will take.

What is charged is what is launched (R15): the settings that the estimate is made for are those
that `engines/llama/argv.py` passes to the server.
"""

from dataclasses import dataclass, replace

from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.refusals import FittingFile
from orchestrator.core.values.specs import ModelSpec, Serving
from orchestrator.core.values.vram import MiB
from orchestrator.errors import Unpredictable
from orchestrator.gguf.architecture import architecture_of
from orchestrator.gguf.dry_run import DryRuns
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.footprint import Estimate, Method
from orchestrator.gguf.header import Header
from orchestrator.gguf.settings import GPU_OVERHEAD_BYTES, Settings


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """What a server holds beside its model: code, threads, the vocabulary as strings and tables."""

    own_bytes: int
    word_bytes: int  # of each word of the vocabulary


# Measured on x86-64 with 49 152 and with 262 144 words, after long prompts: the resident set less
# what the model's files tell (bench/bench_footprints.py).
LLAMA_SERVER = ServerProcess(own_bytes=32 * MiB, word_bytes=170)
IN_PYTHON = ServerProcess(own_bytes=49 * MiB, word_bytes=190)  # xllamacpp


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What a model would take: in parts, and as it would be reserved."""

    spec: ModelSpec
    estimate: Estimate
    footprint: Footprint
    fitting_file: FittingFile | None = None


@dataclass(frozen=True, slots=True)
class Files:
    """The headers of everything that one server loads, and the server."""

    model: Header
    projector: Header | None = None
    adapters: tuple[Header, ...] = ()
    server: ServerProcess = LLAMA_SERVER

    @property
    def identity(self) -> tuple[object, ...]:
        others = (self.projector,) if self.projector is not None else ()
        headers = (self.model, *others, *self.adapters)
        return (*(header.parts for header in headers), self.server)


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a model would take, and by which methods: figures of different ones are not mixed."""

    footprint: Footprint
    methods: tuple[Method, ...]
    sure: bool  # the method knows how such a model keeps its context
    doubts: tuple[str, ...]


def settings_of(files: Files, serving: Serving, gpus: int) -> Settings:
    """What the server will be told, as the estimator understands it. Raise GgufError."""
    batch, ubatch = serving.effective_batches
    return Settings(
        context_size=serving.total_context,
        slots=serving.slots,
        unified_cache=serving.unified_cache,
        cache_type_k=serving.cache_type_k,
        cache_type_v=serving.cache_type_v,
        batch=batch,
        ubatch=ubatch,
        gpu_layers="all" if serving.gpu_layers is None else serving.gpu_layers,
        tensor_split=(1.0,) * gpus,
        flash_attention=serving.flash_attention,
        loras=files.adapters,
        projector=files.projector,
        projector_on_gpu=serving.projector_on_gpu,
        gpu_overhead_bytes=GPU_OVERHEAD_BYTES,
        checkpoints=serving.context_checkpoints,
    )


def process_bytes(files: Files, serving: Serving) -> int:
    """Host RAM of the server itself, and of the prompt cache that it is allowed."""
    server, words = files.server, architecture_of(files.model).vocabulary
    return server.own_bytes + words * server.word_bytes + serving.host_cache_mb * MiB


def understood(files: Files) -> bool:
    try:
        return architecture_of(files.model).understood
    except GgufError as error:
        raise _inestimable(error) from error


def _inestimable(error: GgufError) -> Unpredictable:
    return Unpredictable(("file",), f"cannot be estimated: {error}")


def worked_out(files: Files, spec: ModelSpec, asks: DryRuns | None) -> Predicted:
    serving = spec.serving
    one = estimated(files, serving, 1, asks)
    alone = estimated(files, serving, 0, asks)
    parts = [one, alone]
    device_bytes = one.on_devices.total_bytes
    further_bytes = 0
    if spec.span > 1:
        wide = estimated(files, serving, spec.span, asks)
        parts.append(wide)
        # Every device is promised the same, so it must do for the one that holds most.
        together = spec.span * max(share.total_bytes for share in wide.devices)
        further_bytes = max(0, -(-(together - device_bytes) // (spec.span - 1)))
    process = process_bytes(files, serving)
    footprint = Footprint(
        device_bytes=device_bytes,
        host_bytes=one.host.total_bytes + process,
        further_device_bytes=further_bytes,
        host_only_bytes=alone.host.total_bytes + process,
        provenance=Provenance.ESTIMATED,
    )
    methods = tuple(part.method for part in parts)
    on_gpus = (part.method for part in parts if part.devices)
    sure = understood(files) or all(method is Method.DRY_RUN for method in on_gpus)
    return Predicted(footprint, methods, sure, one.doubts)


def estimated(files: Files, serving: Serving, gpus: int, asks: DryRuns | None) -> Estimate:
    """By the engine's planner, if there is one; by the header where not, or where it fails."""
    try:
        settings = settings_of(files, serving, gpus)
        guess = estimate(files.model, settings)
        if asks is None:
            return guess
        try:
            return asks.estimate(files.model, settings)
        except GgufError as error:
            return replace(guess, doubts=(*guess.doubts, str(error)))
    except GgufError as error:
        raise _inestimable(error) from error
