"""The shape of the configuration file: one dataclass per section, limits beside the keys.

Values as written, apart from paths, which `loading` makes absolute.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Discriminator, Field, Tag

from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import (
    CONTEXT_CHECKPOINTS_DEFAULT,
    PRIORITY_DEFAULT,
    Degrading,
    FakeBehaviour,
    Profile,
)
from orchestrator.core.values.vram import DeviceId, DeviceKind, MiB

MB_MAX = 1 << 30  # a pebibyte: more is a slip of the unit
SECONDS_MAX = 366 * 86400.0
CONTEXT_SIZE_MAX = 1 << 24  # sixteen times the longest context of any model today
PRIORITY_MAX = 1_000_000
BODY_BYTES_DEFAULT = 32 << 20  # a chat with several pictures in it
TEXT_CHARS_MAX = 4096  # Linux allows no longer path

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

# No control characters: they break logs, argument lists and terminals.
Text = Annotated[
    str, Field(min_length=1, max_length=TEXT_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Url = Annotated[
    str, Field(max_length=TEXT_CHARS_MAX, pattern=r"^https?://[A-Za-z0-9\[][^\s\\@#?]*$")
]
Mb = Annotated[int, Field(ge=0, le=MB_MAX)]
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX)]
PositiveSeconds = Annotated[float, Field(gt=0, le=SECONDS_MAX)]
Port = Annotated[int, Field(ge=0, le=65535)]


class OnShutdown(StrEnum):
    KEEP = "keep"
    STOP = "stop"


class DeviceSource(StrEnum):
    AUTO = "auto"
    NVML = "nvml"
    HOST = "host"
    FAKE = "fake"


class AbandonedLoad(StrEnum):
    FINISH = "finish"
    CANCEL = "cancel"


class EngineName(StrEnum):
    LLAMA_CPP = "llama_cpp"
    XLLAMACPP = "xllamacpp"
    CONTAINER = "container"
    FAKE = "fake"
    VLLM = "vllm"
    OLLAMA = "ollama"
    COMFYUI = "comfyui"


class RuntimeName(StrEnum):
    PROCESS = "process"
    DOCKER = "docker"
    EXTERNAL = "external"


class CacheType(StrEnum):
    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q5_1 = "q5_1"
    Q5_0 = "q5_0"
    Q4_1 = "q4_1"
    Q4_0 = "q4_0"
    IQ4_NL = "iq4_nl"


class LoadMode(StrEnum):
    NONE = "none"
    MMAP = "mmap"
    MLOCK = "mlock"
    MMAP_MLOCK = "mmap+mlock"
    DIRECT = "dio"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    host: Text = "127.0.0.1"
    """The address to listen on. There are no keys yet: whoever reaches it may use it."""
    port: Port = 8000
    """0 takes any free port."""
    allowed_hosts: tuple[Text, ...] = ()
    """Names besides IP literals, localhost, *.local and bare names by which we may be called."""
    allowed_origins: tuple[Text, ...] = ()
    """Web origins, such as https://dash.example, that may send changes."""
    body_limit_bytes: Annotated[int, Field(ge=1024, le=1 << 32)] = BODY_BYTES_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeDeviceEntry:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: Text
    total_mb: Annotated[int, Field(ge=1, le=MB_MAX)]
    release_lag_s: Seconds = 0.5
    """How long the bytes of a dead process are still counted."""
    processes_visible: bool = True
    """false: as in a container that does not see the host's processes."""
    kind: DeviceKind = DeviceKind.GPU


def _one_or_each(budget: object) -> str:
    return "each" if isinstance(budget, dict) else "all"


Budget = Annotated[
    Annotated[Mb, Tag("all")] | Annotated[dict[str, Mb], Tag("each")],
    Discriminator(_one_or_each),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    source: DeviceSource = DeviceSource.AUTO
    """auto: NVML if its driver answers, else the host's RAM."""
    headroom_mb: Mb = 512
    """Bytes of every device that are never planned on."""
    budget_mb: Budget | None = None
    """Never use more of a device than this: one number, or one for each device id or name."""
    sample_interval_s: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    """How often the devices are read."""
    fake: tuple[FakeDeviceEntry, ...] = ()
    """The pretended devices of `source: fake`; their ids are fake-0, fake-1, ..."""

    def budget_bytes(self, device: DeviceId, name: str) -> int | None:
        """The most that may be used of the device; None: all of it."""
        budget = self.budget_mb
        if isinstance(budget, dict):
            budget = budget.get(device, budget.get(name))
        return None if budget is None else budget * MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingSettings:
    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    patience_s: Seconds = 60
    """Or ten times the load time, if that is more: then residents in the way must drain."""
    min_residency_s: Seconds = 10
    """How long a newcomer keeps its place against equals."""
    drain_timeout_s: Seconds = 120
    """How long a victim's running requests may take before the plan is reconsidered."""
    protect_idle_s: Seconds = 180
    """How long an idle resident is safe from requests of lower priority."""
    queue_length_max: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    release_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30
    """How long a device may take to give bytes back after a stop."""
    restore_victims: bool = True
    """When a newcomer fails to load, bring those back who left for it."""
    abandoned_load: AbandonedLoad = AbandonedLoad.FINISH
    """What becomes of a load that nobody waits for any more."""
    lease_seconds_default: PositiveSeconds = 3600
    load_deadline_s: PositiveSeconds = 600
    """How long a start may take; it pauses while the log or the bytes still move."""
    stop_grace_s: Annotated[float, Field(ge=0, le=600)] = 10
    """Between asking a server to end and killing it."""

    def doubt(self) -> str:
        """What is allowed, and hardly meant; empty if nothing is."""
        wait_s = self.patience_s + self.drain_timeout_s + self.release_timeout_s
        wait_s += self.min_residency_s
        if self.protect_idle_s < wait_s:
            return ""
        return (
            f"scheduling.protect_idle_s ({self.protect_idle_s:g}) is not below the {wait_s:g} s "
            "that a caller waits (patience_s + drain_timeout_s + release_timeout_s + "
            "min_residency_s): a request of lower priority is refused at once while a more "
            "important model was just used."
        )

    @property
    def rules(self) -> Rules:
        return Rules(
            patience_s=self.patience_s,
            min_residency_s=self.min_residency_s,
            drain_timeout_s=self.drain_timeout_s,
            protect_idle_s=self.protect_idle_s,
            release_timeout_s=self.release_timeout_s,
            queue_length_max=self.queue_length_max,
            restore_victims=self.restore_victims,
            cancel_abandoned=self.abandoned_load is AbandonedLoad.CANCEL,
            lease_s_default=self.lease_seconds_default,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEntry:
    """How the models of one service are run, and by what."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    engine: EngineName
    runtime: RuntimeName = RuntimeName.PROCESS
    image: Text | None = None
    """docker: what containers are made of."""
    auto_pull: bool = False
    """docker: pull the image from its registry when it is missing."""
    container: Text | None = None
    """docker: one container that somebody else defined, to be started and stopped."""
    network: Text | None = None
    """docker: the network shared with the daemon; without it, one port on loopback."""
    direct: bool = False
    """docker: publish a port for clients beyond this machine. There are no keys: whoever reaches it
    may use it."""
    host: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$|^\[[0-9A-Fa-f:]+\]$")] | None
    ) = None
    """docker, direct: the name by which those clients reach this machine; its own if not given."""
    cdi: bool = False
    """docker: ask for GPUs by the Container Device Interface."""
    memory_mb: Annotated[int, Field(ge=64, le=MB_MAX)] | None = None
    """docker: the most host RAM one container may take."""
    hub_volume: Text | None = None
    """docker: the volume that holds HF_HOME, where the daemon itself runs in a container."""
    models_dir: Text | None = None
    """The folder that `file`, `mmproj` and `lora` are relative to. In this and other paths,
    ${NAME} and ${NAME:-otherwise} are taken from the environment."""
    allowed_roots: tuple[Text, ...] = ()
    """Other folders that files may lie in."""
    binary: Text | None = None
    """process: the llama-server to run, as a path or a name on PATH."""
    url: Url | None = None
    """external, or a named container: where the server answers."""
    health: Annotated[str, Field(max_length=TEXT_CHARS_MAX, pattern=r"^/[^\s\\@#]*$")] | None = None
    """engine container: the path that answers below 500 once it is ready; / if not given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """What the operator wrote about one model. What is None is the profile's, or the default."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    service: Text
    file: Text | None = None
    """Under the service's models_dir, absolute in an allowed root, package:NAME/FILE.gguf, or of a
    model hub: ORG/REPO:FILE.gguf or ORG/REPO:Q4_K_M, with its parts and its projector."""
    auto_download: bool = False
    """Bring the file from its hub when the model is first loaded."""
    mmproj: Text | None = None
    """The projector of a vision model."""
    lora: tuple[Text, ...] = ()
    context_size: Annotated[int, Field(ge=1, le=CONTEXT_SIZE_MAX)] | None = None
    slots: Annotated[int, Field(ge=1, le=256)] = 1
    unified_cache: bool = True
    """true: all slots share one context; false: each has its own."""
    gpu_layers: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """null: all of them."""
    cache_type_k: CacheType = CacheType.F16
    cache_type_v: CacheType = CacheType.F16
    batch: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    ubatch: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """null: one for each physical core."""
    flash_attention: bool = True
    load_mode: LoadMode | None = None
    """null: mmap on the host, none where every layer is offloaded."""
    host_cache_mb: Mb = 0
    """The server's prompt cache in host RAM."""
    context_checkpoints: Annotated[int, Field(ge=0, le=1024)] = CONTEXT_CHECKPOINTS_DEFAULT
    """Copies of a sliding window or a recurrent state, in host RAM, for each slot."""
    jinja: bool = True
    embeddings: bool = False
    max_tokens: Annotated[int, Field(ge=1, le=CONTEXT_SIZE_MAX)] | None = None
    """How long an answer is if the request does not say."""
    profile: Profile | None = None
    """A named set of threads, batch, context_size and max_tokens; keys given here win over it."""
    priority: Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = PRIORITY_DEFAULT
    """Higher matters more."""
    vram_mb: Mb | None = None
    """What it takes, where that cannot be estimated from `file`, until it has been measured."""
    host_mb: Mb | None = None
    """What it takes of the host's RAM beside that."""
    ttl_seconds: Seconds | None = None
    """Idle seconds after which it leaves by itself; null: it stays."""
    aliases: tuple[Text, ...] = ()
    devices: tuple[Text, ...] = ()
    """Ids or names of the devices it may use; none given: any."""
    span: Annotated[int, Field(ge=1, le=64)] = 1
    """Over how many devices it may be spread."""
    preload: bool = False
    """Load it when the daemon starts."""
    pinned: bool = False
    """It leaves only by force or its own unload."""
    fake: FakeBehaviour | None = None
    """How the stand-in of `engine: fake` behaves."""
    url: Url | None = None
    """external: where this model's server answers, if not at the service's url."""
    load_seconds: PositiveSeconds | None = None
    """How long a load takes, until it has been measured."""
    degrade: tuple[Degrading, ...] = ()
    """What may be given up, in this order, when it does not fit; of a model with a GGUF `file`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The whole file."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    server: ServerSettings = field(default_factory=ServerSettings)
    state_dir: Text = "state"
    """The registry and the logs of model servers."""
    on_shutdown: OnShutdown = OnShutdown.KEEP
    """keep: models outlive the daemon and are adopted; stop: they end with it."""
    devices: DeviceSettings = field(default_factory=DeviceSettings)
    scheduling: SchedulingSettings = field(default_factory=SchedulingSettings)
    services: Mapping[str, ServiceEntry] = field(default_factory=dict)
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
