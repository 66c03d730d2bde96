"""What would fit instead: the largest context, the most layers, the most exact cache."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.gguf.architecture import architecture_of
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.footprint import MIB, Estimate, Share
from orchestrator.gguf.header import Header
from orchestrator.gguf.settings import Settings

# Contexts are padded to this anyway, so a finer search would suggest differences that are none.
CONTEXT_STEP = 256
# From exact to coarse. Below this, answers suffer more than a shorter context would make them.
CACHE_TYPES_BY_EXACTNESS = ("f16", "q8_0", "q5_1", "q4_0")


@dataclass(frozen=True, slots=True)
class Fit:
    """A suggestion changes one setting only; None: that alone does not make it fit."""

    fits: bool
    needed_bytes: tuple[int, ...]  # per GPU, overhead included; on the host where there is no GPU
    free_bytes: tuple[int, ...]  # at the same places
    context_size: int | None
    gpu_layers: int | None
    cache_type: str | None

    @property
    def suggestions(self) -> dict[str, int | str]:
        """What can be sent back as it is; empty when it fits as asked or nothing helps."""
        if self.fits:
            return {}
        found = {
            "context_size": self.context_size,
            "gpu_layers": self.gpu_layers,
            "cache_type": self.cache_type,
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def text(self) -> str:
        needed, free = sum(self.needed_bytes) // MIB, sum(self.free_bytes) // MIB
        if self.fits:
            return f"fits: needs {needed:,} of {free:,} MiB"
        ways = " or ".join(f"{name} {value}" for name, value in self.suggestions.items())
        remedy = f"; would fit with {ways}" if ways else "; no single setting makes it fit"
        return f"needs {needed:,} MiB where {free:,} MiB are free{remedy}"


def suggestions(
    header: Header,
    settings: Settings,
    free_bytes: tuple[int, ...],
    *,
    host_bytes: int | None = None,
    told_by: Callable[[Header, Settings], Estimate] = estimate,
) -> Fit:
    """Compare the estimate with what is free on the GPUs of `tensor_split`, in its order.

    Without a GPU there, the one number is what is free on the host. `host_bytes` are what is free
    there for what the GPUs do not hold; None: that is not looked at. `told_by` may be the engine's
    own planner, which is asked some twenty times.
    `context_size` and `gpu_layers` are the most that fits with everything else as asked, so they
    may also be more than was asked. Raises `GgufError` as `estimate` does.
    """

    def on_gpus(changed: Settings) -> bool:
        return _within(told_by(header, changed), free_bytes, None)

    def fitting(changed: Settings) -> bool:
        return _within(told_by(header, changed), free_bytes, host_bytes)

    asked = told_by(header, settings)
    return Fit(
        fits=_within(asked, free_bytes, host_bytes),
        needed_bytes=tuple(share.total_bytes for share in _places(asked)),
        free_bytes=free_bytes,
        context_size=_largest_context(header, settings, fitting),
        gpu_layers=_most_layers(header, settings, on_gpus, fitting),
        cache_type=_most_exact_cache(settings, fitting),
    )


def _within(needed: Estimate, free_bytes: tuple[int, ...], host_bytes: int | None) -> bool:
    places = _places(needed)
    if len(places) != len(free_bytes):
        return False
    if needed.devices and host_bytes is not None and needed.host.total_bytes > host_bytes:
        return False
    return all(share.total_bytes <= free for share, free in zip(places, free_bytes, strict=True))


def _places(needed: Estimate) -> tuple[Share, ...]:
    return needed.devices or (needed.host,)


def _largest_context(
    header: Header, settings: Settings, fitting: Callable[[Settings], bool]
) -> int | None:
    """At most what the model was trained for, for every slot that has a cache of its own."""
    caches = 1 if settings.unified_cache else settings.slots
    most = architecture_of(header).trained_context * caches // CONTEXT_STEP
    steps = _largest(most, lambda n: fitting(replace(settings, context_size=n * CONTEXT_STEP)))
    return steps * CONTEXT_STEP if steps else None


def _most_layers(
    header: Header,
    settings: Settings,
    on_gpus: Callable[[Settings], bool],
    fitting: Callable[[Settings], bool],
) -> int | None:
    """The most layers on the GPUs leave the least to the host: if that does not fit, none does."""
    if not settings.tensor_split:
        return None
    most = len(architecture_of(header).layers) + 1
    layers = _largest(most, lambda n: on_gpus(replace(settings, gpu_layers=n)))
    return layers if layers and fitting(replace(settings, gpu_layers=layers)) else None


def _most_exact_cache(settings: Settings, fitting: Callable[[Settings], bool]) -> str | None:
    if not settings.flash_attention:
        return None  # llama.cpp needs it for a quantized cache
    for name in CACHE_TYPES_BY_EXACTNESS:
        if fitting(replace(settings, cache_type_k=name, cache_type_v=name)):
            return name
    return None


def _largest(most: int, fitting: Callable[[int], bool]) -> int:
    """The largest number up to `most` that fits, by bisection; 0 when 1 does not."""
    fits, too_large = 0, most + 1
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if fitting(middle):
            fits = middle
        else:
            too_large = middle
    return fits
