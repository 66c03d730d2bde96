"""What a model will take, told from its files before anything of it runs.

What is charged is what is launched (R15): the settings that the estimate is made for are those
that `engines/llama_argv.py` passes to the server.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.config.catalogue import Unpredictable
from orchestrator.config.places import KeyPath
from orchestrator.core.footprints import Footprint, Provenance
from orchestrator.core.specs import Degrading, Fallback, ModelName, ModelSpec, Serving
from orchestrator.core.vram import MiB
from orchestrator.engines.llama_argv import effective_batches, total_context
from orchestrator.gguf import fits
from orchestrator.gguf.architecture import architecture_of
from orchestrator.gguf.dry_run import DryRuns
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.footprint import Estimate, Share
from orchestrator.gguf.header import Header
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.settings import GPU_OVERHEAD_BYTES, Settings
from orchestrator.orders import Suggestion

# A server process beside its model: code, threads, and the vocabulary as strings and tables.
# Measured with xllamacpp on x86-64: 57 MiB with 49 152 words, 105 MiB with 262 144.
PROCESS_BYTES = 48 * MiB
WORD_BYTES = 240

UBATCH_LESS = 128  # below this, reading a prompt becomes much slower and little is saved
CACHE_TYPE_LESS = "q8_0"  # answers can hardly be told from those of f16
LAYERS_LESS = (0.75, 0.5, 0.25)
CONTEXT_LESS = (0.5, 0.25)
CONTEXT_LEAST = 2048  # a chat with tools does not fit into less

PREDICTIONS_MAX = 4096  # some hundred bytes each; a catalogue of hundreds under several settings


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What a model would take: in parts, and as it would be reserved."""

    spec: ModelSpec
    estimate: Estimate
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class Files:
    """The headers of everything that one server loads."""

    model: Header
    projector: Header | None
    adapters: tuple[Header, ...]

    @property
    def identity(self) -> tuple[object, ...]:
        others = (self.projector,) if self.projector is not None else ()
        return tuple(each.parts for each in (self.model, *others, *self.adapters))


class Predictions:
    """Footprints by the header, each worked out once. Blocking, unless it says otherwise."""

    def __init__(self, headers: Headers, *, dry_runs: DryRuns | None = None) -> None:
        self._headers = headers
        self._dry_runs = dry_runs
        self._known: OrderedDict[object, Footprint] = OrderedDict()
        self.doubts: dict[ModelName, tuple[str, ...]] = {}  # of models that were estimated so far

    def expect(self, path: Path, header: Header) -> None:
        """What a file will hold that is still to come there."""
        self._headers.expect(path, header)

    def footprint(self, spec: ModelSpec) -> Footprint | None:
        """None for a model without a file. Raise Unpredictable, with what is wrong and where."""
        if spec.file is None:
            return None
        return self._footprint(spec, self._files(spec, self._headers.of), asks=self._dry_runs)

    def remembered(self, spec: ModelSpec) -> Footprint | None:
        """Never blocks: from headers that have been read; None if they have not been."""
        if spec.file is None:
            return None
        try:
            files = self._files(spec, self._headers.remembered)
            return self._footprint(spec, files, asks=None)
        except Unpredictable:
            return None

    def appraise(self, spec: ModelSpec, *, gpus: int = 1) -> Appraisal:
        """In parts, for who wants to see them; of a model with a file. Raise Unpredictable."""
        files = self._files(spec, self._headers.of)
        parts = _estimated(files, spec.serving, gpus, self._dry_runs)
        return Appraisal(spec, parts, self._footprint(spec, files, self._dry_runs))

    def fallbacks(self, spec: ModelSpec) -> tuple[Fallback, ...]:
        """What the operator's `degrade` list comes to, step by step. Never blocks."""
        base = self.remembered(spec) if spec.degrade else None
        if base is None or spec.file is None:
            return ()
        layers = len(architecture_of(self._headers.remembered(Path(spec.file))).layers) + 1
        found: list[Fallback] = []
        serving, given_up, least = spec.serving, dict[str, str](), base
        for degrading in spec.degrade:
            for lesser, key, words in _steps(degrading, serving, layers, spec):
                taken = self.remembered(replace(spec, serving=lesser))
                if taken is None or not _saves(taken, least):
                    continue
                serving, least = lesser, taken
                given_up[key] = words
                found.append(
                    Fallback(
                        serving=lesser,
                        footprint=_moved(spec.footprint, base, taken),
                        given_up=tuple(given_up.values()),
                    )
                )
        return tuple(found)

    def suggestions(
        self, spec: ModelSpec, room_bytes: int, *, on_host: bool
    ) -> tuple[Suggestion, ...]:
        """What would fit into so much on each device, each to be sent back as it is."""
        if spec.file is None:
            return ()
        try:
            files = self._files(spec, self._headers.of)
            predicted = self._footprint(spec, files, asks=None)
            settings = settings_of(files, spec.serving, 0 if on_host else spec.span)
            # What was learned beyond the prediction holds for the suggestion too.
            if on_host:
                parts = _host_only(files, spec.serving)
                beside = spec.footprint.without_gpu_bytes - parts.total_bytes
                free_bytes: tuple[int, ...] = (room_bytes - beside,)
            else:
                beside = spec.footprint.device_bytes - predicted.device_bytes
                free_bytes = (room_bytes - beside // spec.span,) * spec.span
            fit = fits.suggestions(files.model, settings, free_bytes)
        except (Unpredictable, GgufError):
            return ()
        return tuple(_as_order({key: each}, spec.serving) for key, each in fit.suggestions.items())

    def _files(self, spec: ModelSpec, read: Callable[[Path], Header]) -> Files:
        assert spec.file is not None
        return Files(
            model=_read(read, spec.file, "file"),
            projector=None if spec.mmproj is None else _read(read, spec.mmproj, "mmproj"),
            adapters=tuple(_read(read, each, "lora", i) for i, each in enumerate(spec.lora)),
        )

    def _footprint(self, spec: ModelSpec, files: Files, asks: DryRuns | None) -> Footprint:
        key = (files.identity, spec.serving, spec.span)
        known = self._known.get(key)
        if known is None:
            known, doubts = _worked_out(files, spec, asks)
            if doubts:
                self.doubts[spec.name] = doubts
            self._known[key] = known
            while len(self._known) > PREDICTIONS_MAX:
                self._known.popitem(last=False)
        return known


def settings_of(files: Files, serving: Serving, gpus: int) -> Settings:
    """What the server will be told, as the estimator understands it. Raise GgufError."""
    batch, ubatch = effective_batches(serving)
    return Settings(
        context_size=total_context(serving),
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
    words = architecture_of(files.model).vocabulary
    return PROCESS_BYTES + words * WORD_BYTES + serving.host_cache_mb * MiB


def _read(read: Callable[[Path], Header], path: str, *where: str | int) -> Header:
    try:
        return read(Path(path))
    except GgufError as error:
        raise Unpredictable(where, f"cannot be used: {error}") from error


def _worked_out(
    files: Files, spec: ModelSpec, asks: DryRuns | None
) -> tuple[Footprint, tuple[str, ...]]:
    serving = spec.serving
    one = _estimated(files, serving, 1, asks)
    device_bytes = one.on_devices.total_bytes
    further_bytes = 0
    if spec.span > 1:
        wide = _estimated(files, serving, spec.span, asks)
        # Every device is promised the same, so it must do for the one that holds most.
        together = spec.span * max(share.total_bytes for share in wide.devices)
        further_bytes = max(0, -(-(together - device_bytes) // (spec.span - 1)))
    process = process_bytes(files, serving)
    footprint = Footprint(
        device_bytes=device_bytes,
        host_bytes=one.host.total_bytes + process,
        further_device_bytes=further_bytes,
        host_only_bytes=_host_only(files, serving).total_bytes + process,
        provenance=Provenance.ESTIMATED,
    )
    return footprint, one.doubts


def _host_only(files: Files, serving: Serving) -> Share:
    return _estimated(files, serving, 0, None).host


def _estimated(files: Files, serving: Serving, gpus: int, asks: DryRuns | None) -> Estimate:
    """By the header; by the engine's own planner where the header does not say enough."""
    where: KeyPath = ("file",)
    try:
        settings = settings_of(files, serving, gpus)
        guess = estimate(files.model, settings)
        if not guess.doubts or asks is None:
            return guess
        try:
            return asks.estimate(files.model, settings)
        except GgufError as error:
            return replace(guess, doubts=(*guess.doubts, str(error)))
    except GgufError as error:
        raise Unpredictable(where, f"cannot be estimated: {error}") from error


def _saves(taken: Footprint, least: Footprint) -> bool:
    """On a GPU or on a host without one; and nowhere does it cost more."""
    now = taken.device_bytes, taken.without_gpu_bytes
    before = least.device_bytes, least.without_gpu_bytes
    return now != before and all(a <= b for a, b in zip(now, before, strict=True))


def _moved(footprint: Footprint, base: Footprint, taken: Footprint) -> Footprint:
    """What is believed now, less what the prediction says that the lesser settings save."""
    host_bytes = footprint.host_bytes + taken.host_bytes - base.host_bytes
    alone = footprint.host_only_bytes
    if alone is not None:
        alone = max(alone + taken.without_gpu_bytes - base.without_gpu_bytes, 0)
    return replace(
        footprint,
        device_bytes=max(footprint.device_bytes + taken.device_bytes - base.device_bytes, 0),
        host_bytes=max(host_bytes, 0),
        host_only_bytes=alone,
    )


def _steps(
    degrading: Degrading, serving: Serving, layers: int, spec: ModelSpec
) -> Iterator[tuple[Serving, str, str]]:
    """Lesser settings, what they are about, and what was given up in words."""
    match degrading:
        case Degrading.UBATCH if serving.ubatch > UBATCH_LESS:
            words = f"ubatch {UBATCH_LESS} instead of {serving.ubatch}"
            yield replace(serving, ubatch=UBATCH_LESS), degrading, words
        case Degrading.CACHE_TYPE if serving.flash_attention:
            words = f"cache type {CACHE_TYPE_LESS} instead of {serving.cache_type_k}"
            lesser = replace(serving, cache_type_k=CACHE_TYPE_LESS, cache_type_v=CACHE_TYPE_LESS)
            yield lesser, degrading, words
        case Degrading.MMPROJ if spec.mmproj is not None:
            yield replace(serving, projector_on_gpu=False), degrading, "projector on the host"
        case Degrading.GPU_LAYERS:
            asked = min(layers if serving.gpu_layers is None else serving.gpu_layers, layers)
            for part in LAYERS_LESS:
                fewer = int(layers * part)
                if fewer < asked:
                    words = f"{fewer} layers on the GPU instead of {asked}"
                    yield replace(serving, gpu_layers=fewer), degrading, words
        case Degrading.CONTEXT_SIZE:
            for part in CONTEXT_LESS:
                shorter = max(int(serving.context_size * part), CONTEXT_LEAST)
                if shorter < serving.context_size:
                    words = f"context {shorter} instead of {serving.context_size}"
                    yield replace(serving, context_size=shorter), degrading, words
        case _:
            return


def _as_order(changed: Suggestion, serving: Serving) -> Suggestion:
    """As a load takes it: the context of one slot, where each has its own."""
    context = changed.get("context_size")
    if isinstance(context, int) and not serving.unified_cache:
        return {"context_size": context // serving.slots}
    return changed
