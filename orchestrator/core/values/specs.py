"""What the operator says about a model. Immutable; the catalogue holds one per name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NewType

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.measurements import Measurement
from orchestrator.core.values.speeds import Expected

ModelName = NewType("ModelName", str)
ServiceName = NewType("ServiceName", str)

PRIORITY_DEFAULT = 5
# What spares a conversation of a model with a sliding window or a recurrent state from being read
# anew. Some tens of MiB each, and the server's own default is 32: host RAM in no budget.
CONTEXT_CHECKPOINTS_DEFAULT = 3
PLAIN_ROOM = ServiceName("")  # the service of a VRAM lease: room that no server of ours fills


class Profile(StrEnum):
    FAST = "fast"
    BALANCED = "balanced"
    QUALITY = "quality"
    MEMORY = "memory"
    BATCH = "batch"


class FakeFailure(StrEnum):
    NONE = "none"
    EXITS = "exits"
    OUT_OF_MEMORY = "out_of_memory"
    NEVER_READY = "never_ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeBehaviour:
    """How the stand-in server behaves: a menu of the world's defects."""

    load_s: float = 0.5
    tokens_per_s: float = 50.0
    stop_s: float = 0.0
    ignore_sigterm: bool = False
    dies_after_s: float | None = None
    peak_mb: int | None = None  # what it takes while it loads, if more than in the end
    fail: FakeFailure = FakeFailure.NONE
    takes_no_vram: bool = False  # as a server that found no GPU and computes on the processor


class Degrading(StrEnum):
    """What may be given up when a model does not fit as configured."""

    UBATCH = "ubatch"
    CACHE_TYPE = "cache_type"
    MMPROJ = "mmproj"
    GPU_LAYERS = "gpu_layers"
    CONTEXT_SIZE = "context_size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Everything that changes what a server occupies or how it answers: passed explicitly (R15)."""

    context_size: int = 4096  # of one slot's conversation when the cache is unified: of all
    slots: int = 1
    unified_cache: bool = True
    gpu_layers: int | None = None  # None: all of them
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    batch: int = 2048
    ubatch: int = 512
    threads: int | None = None  # None: physical cores
    flash_attention: bool = True
    load_mode: str | None = None  # None: mmap on the host, none where every layer is offloaded
    host_cache_mb: int = 0  # the server's prompt cache in host RAM
    context_checkpoints: int = CONTEXT_CHECKPOINTS_DEFAULT  # of each slot, in host RAM
    projector_on_gpu: bool = True
    embeddings: bool = False
    jinja: bool = True
    max_tokens: int | None = None  # the default answer length
    extra_args: tuple[str, ...] = ()  # the operator's own, after all others

    @property
    def total_context(self) -> int:
        """What `-c` must be: the server divides it over its slots unless they share one cache."""
        return self.context_size if self.unified_cache else self.context_size * self.slots

    @property
    def effective_batches(self) -> tuple[int, int]:
        """The batch and the ubatch. An embedding server lowers its batch to the ubatch by itself:
        say so rather than find out.
        """
        batch = self.ubatch if self.embeddings else self.batch
        return batch, min(self.ubatch, batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the operator has run for a model of an engine that knows no program of its own."""

    argv: tuple[str, ...]  # may hold ${PORT}, ${HOST} and ${MODEL}
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Lesser settings that the operator allows where the model does not fit as configured."""

    serving: Serving
    footprint: Footprint
    given_up: tuple[str, ...]  # in words, everything that differs from what was configured


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model of the catalogue, with the footprint that is believed in now."""

    name: ModelName
    service: ServiceName
    footprint: Footprint
    priority: int = PRIORITY_DEFAULT
    ttl_s: float | None = None  # idle seconds before it leaves by itself; None: stays
    devices: tuple[str, ...] = ()  # ids or names it may use; empty: any
    span: int = 1  # over how many devices it may be spread
    load_s: float = 10.0  # how long a load takes, as declared or last measured
    load_known: bool = False  # whether it was; else `load_s` is a guess
    file: str | None = None  # resolved path of the weights
    hub: str | None = None  # where the file comes from, if from a model hub: ORG/REPO:FILE
    auto_download: bool = False  # bring it from there when it is first wanted
    supplied: bool = False  # its file or image may have to be brought first: looked at every time
    mmproj: str | None = None
    lora: tuple[str, ...] = ()
    lora_scales: tuple[float, ...] = ()  # one for each; none: all are applied in full
    serving: Serving = field(default_factory=Serving)
    settings_ours: bool = True  # False: the one who defined its server chose them, not `serving`
    profile: str | None = None
    fake: FakeBehaviour | None = None
    program: Program | None = None  # what is run, where the operator says it word by word
    url: str | None = None  # where a server that we do not own answers
    tells_use: bool = True  # whether its server says if it is in use beside what we pass to it
    aliases: tuple[str, ...] = ()
    concurrency: int | None = None  # requests that it is sent at once; None: as its slots have it
    preload: bool = False
    keep_loaded: bool = False  # it comes back by itself, into free room and while nobody waits
    pinned: bool = False
    found: bool = False  # its file was there, and nobody wrote it down: it goes with the file
    degrade: tuple[Degrading, ...] = ()  # what may be given up, in this order
    expected: Expected | None = None  # how fast it is when all is well
    fallbacks: tuple[Fallback, ...] = ()  # what that comes to, each lesser than the one before
    predicted: Footprint | None = None  # believed before anything was learned; None: still is
    sighted: Measurement | None = None  # what its last load seemed to take, if that is not sure
    asked: Serving | None = None  # what callers want, where it runs with less
    given_up: tuple[str, ...] = ()  # the difference, in words
    failed: Failure | None = None  # why it cannot be loaded as it is written; None: it can

    @property
    def plain_room(self) -> bool:
        """A VRAM lease: occupies bytes, has no server."""
        return self.service == PLAIN_ROOM

    @property
    def wanted(self) -> Serving:
        """The settings as asked for; `serving` are those it runs with."""
        return self.serving if self.asked is None else self.asked

    @property
    def awaits_file(self) -> bool:
        """Which file of the hub it is has not been looked up yet."""
        return self.hub is not None and self.file is None

    @property
    def files(self) -> tuple[str | None, str | None]:
        return self.file, self.mmproj

    @property
    def adapters(self) -> tuple[tuple[str, float], ...]:
        """Every LoRA adapter with how much of it is applied, in the order that requests count."""
        scales = self.lora_scales or (1.0,) * len(self.lora)
        return tuple(zip(self.lora, scales, strict=True))

    def degraded(self, to: Fallback) -> "ModelSpec":
        """The same wish, come true with less."""
        left = self.fallbacks[self.fallbacks.index(to) + 1 :]
        return replace(
            self,
            serving=to.serving,
            footprint=to.footprint,
            fallbacks=left,
            predicted=None,
            asked=self.wanted,
            given_up=to.given_up,
        )

    def launches_like(self, other: "ModelSpec") -> bool:
        """Whether a running server of `other` is what this spec asks for.

        One that runs with less, because it did not fit otherwise, is.
        """
        return (
            self.service == other.service
            and self.hub == other.hub
            and (self.awaits_file or other.awaits_file or self.files == other.files)
            and self.adapters == other.adapters
            and (self.wanted == other.wanted or not other.settings_ours)
            and self.fake == other.fake
            and self.program == other.program
            and self.url == other.url
            and self.devices == other.devices
        )


ModelSpecs = Mapping[ModelName, ModelSpec]


def room_spec(name: ModelName, vram_bytes: int, device: str | None, priority: int) -> ModelSpec:
    """What a lease of plain VRAM asks for."""
    return ModelSpec(
        name=name,
        service=PLAIN_ROOM,
        footprint=Footprint(device_bytes=vram_bytes),
        priority=priority,
        devices=(device,) if device else (),
        load_s=0.0,
    )
