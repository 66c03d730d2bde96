"""The command line of a llama.cpp server: everything that costs bytes is said explicitly (R15).

What is charged is what is launched, so nothing is left to the server's own defaults or fitting.
"""

from collections.abc import Iterator, Mapping

from orchestrator.core.values.residents import Placement
from orchestrator.core.values.specs import ModelSpec, Serving
from orchestrator.core.values.vram import is_cuda
from orchestrator.engines.llama.flags import Flags
from orchestrator.ports import HOST_TOKEN, KEY_FILE_TOKEN, PORT_TOKEN

ALL_LAYERS = 999  # more than any model has; the word "all" is younger than the number

# What a load mode was called before --load-mode. Mapping the file is the old default.
_OLD_LOAD_MODES: Mapping[str, tuple[str, ...]] = {
    "none": ("--no-mmap",),
    "mmap": (),
    "mlock": ("--mlock",),
    "mmap+mlock": ("--mlock",),
    "dio": ("--direct-io",),
}


def gpu_shares(placement: Placement) -> tuple[tuple[str, int], ...]:
    """The shares that CUDA devices hold, in the order of the split; none: it runs on the host."""
    return tuple((device, share) for device, share in placement.shares if is_cuda(device))


def device_environment(placement: Placement) -> dict[str, str]:
    """Shows the server its own devices and no others: a context alone costs hundreds of MiB."""
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(device for device, _ in gpu_shares(placement)),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


def effective_load_mode(serving: Serving, placement: Placement) -> str:
    """Mapping is quickest on the host; a copy is where every layer leaves it anyway."""
    if serving.load_mode is not None:
        return serving.load_mode
    return "none" if gpu_shares(placement) and serving.gpu_layers is None else "mmap"


def server_arguments(
    spec: ModelSpec,
    placement: Placement,
    flags: Flags,
    *,
    physical_cores: int,
    closed: bool = False,
) -> tuple[str, ...]:
    """Everything after the program's name. Pure: the same values, the same arguments.

    `closed`: it answers those alone who have its key.
    """
    return (
        *_model(spec),
        *_adapters(spec, flags),
        *_room(spec.serving, flags),
        *_devices(spec, placement, flags),
        *_work(spec.serving, flags, physical_cores),
        *_reading(spec.serving, placement, flags),
        *_answering(spec, flags, closed=closed),
        *spec.serving.extra_args,
    )


def _model(spec: ModelSpec) -> Iterator[str]:
    assert spec.file is not None, f"{spec.name} has no file"
    yield from ("-m", spec.file, "--alias", spec.name)
    if spec.mmproj is not None:
        yield from ("--mmproj", spec.mmproj)


def _adapters(spec: ModelSpec, flags: Flags) -> Iterator[str]:
    """In their order, by which requests name them. A server that takes lists takes an option once:
    of several it announces to read the last alone.
    """
    if not spec.lora:
        return
    if "--lora-scaled" not in flags.listing:
        for file, scale in spec.adapters:
            yield from ("--lora", file) if scale == 1 else ("--lora-scaled", file, f"{scale:g}")
    elif spec.lora_scales:
        scaled = ",".join(f"{file}:{scale:g}" for file, scale in spec.adapters)
        yield from ("--lora-scaled", scaled)
    else:
        yield from ("--lora", ",".join(spec.lora))


def _room(serving: Serving, flags: Flags) -> Iterator[str]:
    """What the footprint is made of."""
    yield from ("-c", str(serving.total_context), "-np", str(serving.slots))
    yield from ("-ctk", serving.cache_type_k, "-ctv", serving.cache_type_v)
    batch, ubatch = serving.effective_batches
    yield from ("-b", str(batch), "-ub", str(ubatch))
    shared = "--kv-unified" if serving.unified_cache else "--no-kv-unified"
    if shared in flags:
        yield shared
    if "--cache-ram" in flags:
        yield from ("--cache-ram", str(serving.host_cache_mb))
    if "--ctx-checkpoints" in flags:
        yield from ("--ctx-checkpoints", str(serving.context_checkpoints))
    if "--fit" in flags:
        yield from ("--fit", "off")


def _devices(spec: ModelSpec, placement: Placement, flags: Flags) -> Iterator[str]:
    shares = gpu_shares(placement)
    if not shares:
        yield from ("-ngl", "0")
        if "--device" in flags:
            yield from ("--device", "none")
        if spec.mmproj is not None and "--no-mmproj-offload" in flags:
            yield "--no-mmproj-offload"
        return
    keeps_projector = spec.mmproj is not None and not spec.serving.projector_on_gpu
    if keeps_projector and "--no-mmproj-offload" in flags:
        yield "--no-mmproj-offload"
    layers = spec.serving.gpu_layers
    yield from ("-ngl", str(ALL_LAYERS if layers is None else layers))
    if len(shares) > 1:
        split = ",".join(str(share >> 20) for _, share in shares)
        yield from ("-sm", "layer", "-ts", split)


def _work(serving: Serving, flags: Flags, physical_cores: int) -> Iterator[str]:
    yield from ("-t", str(serving.threads or physical_cores))
    if "-fa" in flags.valued:
        yield from ("-fa", "on" if serving.flash_attention else "off")
    elif serving.flash_attention and "-fa" in flags:
        yield "-fa"


def _reading(serving: Serving, placement: Placement, flags: Flags) -> Iterator[str]:
    mode = effective_load_mode(serving, placement)
    if "--load-mode" in flags:
        yield from ("--load-mode", mode)
    else:
        yield from (word for word in _OLD_LOAD_MODES.get(mode, ()) if word in flags)


def _answering(spec: ModelSpec, flags: Flags, *, closed: bool) -> Iterator[str]:
    serving = spec.serving
    yield from ("--host", HOST_TOKEN, "--port", PORT_TOKEN)
    looks = ("--metrics", "--no-slots") if closed else ("--metrics", "--slots")
    yield from (word for word in looks if word in flags)
    if closed:
        yield from ("--api-key-file", KEY_FILE_TOKEN)
    template = "--jinja" if serving.jinja else "--no-jinja"
    if template in flags:
        yield template
    if serving.embeddings:
        yield flags.first("--embeddings", "--embedding") or "--embeddings"
    if serving.max_tokens is not None:
        yield from ("-n", str(serving.max_tokens))
    # Any page in any browser on this machine could talk to it otherwise (R16).
    if "--cors-origins" in flags:
        yield from ("--cors-origins", "localhost")
    quiet = flags.first("--no-ui", "--no-webui")
    if quiet is not None:
        yield quiet
