"""Predicts, from headers alone, what a model will occupy on every device and on the host."""

from dataclasses import replace
from itertools import zip_longest

from orchestrator.gguf.architecture import Architecture, architecture_of
from orchestrator.gguf.cache import cells_of, checkpoint_bytes, context_bytes
from orchestrator.gguf.compute import Workload, device_compute_bytes, host_compute_bytes
from orchestrator.gguf.footprint import Estimate, Method, Share
from orchestrator.gguf.header import Header
from orchestrator.gguf.placement import HOST, adapters_bytes, place, tensor_place, weights_bytes
from orchestrator.gguf.projector import projector_share
from orchestrator.gguf.settings import Settings


def estimate(header: Header, settings: Settings) -> Estimate:
    """The footprint of a model served with these settings; adapters and companions included.

    Raises `GgufError` when the header lacks what the prediction needs.
    """
    whole = with_companions(_alone(header, settings), header, settings)
    return replace(whole, doubts=(*whole.doubts, *_truncated(header)))


def with_companions(main: Estimate, header: Header, settings: Settings) -> Estimate:
    """The estimate of a model together with its adapters, draft model and projector, if any."""
    if settings.checkpoints:
        main = _with_checkpoints(main, header, settings)
    if settings.loras:
        main = _with_adapters(main, header, settings)
    if settings.draft is not None:
        main = _together(main, _alone(settings.draft.header, settings.draft.settings))
    if settings.projector is not None:
        main = _with_projector(main, settings.projector, settings)
    return main


def _alone(header: Header, settings: Settings) -> Estimate:
    architecture = architecture_of(header)
    placement = place(architecture, settings)
    cells = cells_of(architecture, settings)
    workload = Workload(architecture, settings, cells, placement)
    weights = weights_bytes(architecture, placement, settings)
    context = dict.fromkeys(weights, 0)
    for i, layer in enumerate(architecture.loaded_layers):
        owner = placement.layers[i] if settings.cache_on_gpu else HOST
        context[owner] += context_bytes(layer, cells, settings)
    devices = tuple(
        Share(
            weights_bytes=weights[number],
            context_bytes=context[number],
            compute_bytes=device_compute_bytes(workload, number),
            overhead_bytes=_overhead_bytes(workload, number),
        )
        for number in range(len(settings.tensor_split))
    )
    host = Share(weights[HOST], context[HOST], host_compute_bytes(workload))
    return Estimate(header.architecture, Method.HEADER, devices, host, _doubts(architecture))


def _overhead_bytes(workload: Workload, device: int) -> int:
    """The driver's part, and on the first GPU room for the host's weights on their way through.

    A GPU computes large batches even for layers that are left to the host, one matrix at a time,
    so the largest of those must fit beside everything else.
    """
    overhead = workload.settings.gpu_overhead_bytes
    return overhead + (_staging_bytes(workload) if device == 0 else 0)


def _staging_bytes(workload: Workload) -> int:
    placement, settings = workload.placement, workload.settings
    return max(
        (
            tensor.size_bytes
            for i, layer in enumerate(workload.architecture.loaded_layers)
            for tensor in layer.tensors
            if tensor_place(tensor, i, placement, settings) == HOST
        ),
        default=0,
    )


def _doubts(architecture: Architecture) -> tuple[str, ...]:
    if architecture.understood:
        return ()
    doubt = f"how {architecture.name} keeps its context is not known here"
    return (f"{doubt}: ask the engine's own planner (dry run)",)


def _truncated(header: Header) -> tuple[str, ...]:
    """A header is right about a file whose end is missing, but that file cannot be served."""
    if not header.missing_bytes:
        return ()
    whole = header.file_bytes + header.missing_bytes
    return (f"the file is truncated: {header.missing_bytes:,} of {whole:,} bytes are missing",)


def _with_checkpoints(main: Estimate, header: Header, settings: Settings) -> Estimate:
    one = checkpoint_bytes(architecture_of(header), settings)
    kept = Share(overhead_bytes=settings.slots * settings.checkpoints * one)
    return replace(main, host=main.host + kept)


def _with_adapters(main: Estimate, header: Header, settings: Settings) -> Estimate:
    held = adapters_bytes(place(architecture_of(header), settings), settings)
    devices = (share + Share(held[number]) for number, share in enumerate(main.devices))
    return replace(main, devices=tuple(devices), host=main.host + Share(held[HOST]))


def _together(main: Estimate, drafting: Estimate) -> Estimate:
    """Both live in one process, so the GPU's overhead is there once."""
    pairs = zip_longest(main.devices, drafting.devices, fillvalue=Share())
    return Estimate(
        main.architecture,
        main.method,
        tuple(share + replace(other, overhead_bytes=0) for share, other in pairs),
        main.host + drafting.host,
        main.doubts + drafting.doubts,
    )


def _with_projector(main: Estimate, projector: Header, settings: Settings) -> Estimate:
    share = projector_share(projector, flash_attention=settings.flash_attention)
    if not (settings.projector_on_gpu and main.devices):
        return replace(main, host=main.host + share)
    first, *others = main.devices
    return replace(main, devices=(first + share, *others))
