"""The shape of the configuration file: one dataclass per section, limits beside the keys.

Values as written, apart from paths, which `loading` makes absolute.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from orchestrator.config.adapters import Adapters
from orchestrator.config.audit_section import AuditSettings
from orchestrator.config.commands import Command, Variable
from orchestrator.config.device_section import DeviceSettings
from orchestrator.config.discovery_section import DiscoverySettings
from orchestrator.config.edge_section import EdgeSettings
from orchestrator.config.expected_section import ExpectedSpeeds
from orchestrator.config.profiles import ProfileSettings
from orchestrator.config.scalars import (
    CONTEXT_SIZE_MAX,
    MB_MAX,
    PRIORITY_MAX,
    STRICT,
    Mb,
    Port,
    PositiveSeconds,
    Seconds,
    Text,
    Url,
    UrlPath,
)
from orchestrator.core.values.rules import OnHang, Rules
from orchestrator.core.values.specs import (
    CONTEXT_CHECKPOINTS_DEFAULT,
    PRIORITY_DEFAULT,
    Degrading,
    FakeBehaviour,
)

BODY_BYTES_DEFAULT = 32 << 20  # a chat with several pictures in it


class OnShutdown(StrEnum):
    KEEP = "keep"
    STOP = "stop"


class AbandonedLoad(StrEnum):
    FINISH = "finish"
    CANCEL = "cancel"


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


class Dashboard(StrEnum):
    OFF = "off"
    READ_ONLY = "read_only"
    FULL = "full"


class LoadMode(StrEnum):
    NONE = "none"
    MMAP = "mmap"
    MLOCK = "mlock"
    MMAP_MLOCK = "mmap+mlock"
    DIRECT = "dio"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    host: Text = "127.0.0.1"
    """The address to listen on. Beyond this machine only with keys: `orchestrator keys create`."""
    port: Port = 8000
    """0 takes any free port."""
    health_port: Port | None = None
    """Where /health and /health/ready are told by a thread of its own, whatever the daemon is busy
    with; null: at `port` alone, 0: at any free port, which the log names."""
    health_host: Text = "127.0.0.1"
    """The address for that. It asks for no key and tells no reason."""
    allowed_hosts: tuple[Text, ...] = ()
    """Names besides IP literals, localhost, *.local, host.docker.internal and bare names by which
    we may be called."""
    allowed_origins: tuple[Text, ...] = ()
    """Web origins, such as https://dash.example, that may send changes."""
    body_limit_bytes: Annotated[int, Field(ge=1024, le=1 << 32)] = BODY_BYTES_DEFAULT
    bodies_limit_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] | None = None
    """Of the bodies of all requests that wait for their model or are answered through the daemon,
    and of their answers; never less than one may have. Beyond it: 503 `too_many_bytes`. null: a
    quarter of the memory that the daemon may have (its container's), 512 MiB at most."""
    insecure_no_keys: bool = False
    """Listen beyond this machine without keys, where something else keeps strangers away: say, a
    container's network whose ports are published on loopback."""
    dashboard: Dashboard = Dashboard.FULL
    """The page at `/`: full; read_only: browsers may look, and what our pages send changes
    nothing and asks no model; off: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How requests that name a model find it."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    default_model: Text | None = None
    """Serves requests that name no model, by name or alias."""
    tasks: Mapping[str, Text] = field(default_factory=dict)
    """A model for each kind of work: `quick_nlp: qwen3-0.6b` serves the model name task:quick_nlp;
    `default` serves every task that is not listed."""
    chains: Mapping[str, tuple[Text, ...]] = field(default_factory=dict)
    """Names that stand for several models, the best first: the first that fits serves."""
    wait_s: PositiveSeconds = 600
    """How long a request may wait for its model, unless it says less."""
    heartbeat_s: Annotated[float, Field(gt=0, le=60)] = 5
    """How often a stream that waits for its model hears a comment."""
    media_by_address: bool = False
    """Whether servers that the daemon starts may fetch pictures that a request names by an address:
    wherever it leads, from the machine that they run on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Who is told of what goes wrong, and of loads that have ended, without asking."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    urls: tuple[Url, ...] = ()
    """Hear of a model that is stuck or refused, a device that is lost, a bound that is broken."""
    callback_urls: tuple[Url, ...] = ()
    """What a load's `callback_url` must begin with: a host, a port, a path of yours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingSettings:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    patience_s: Seconds = 60
    """Or ten times the load time, if that is more: then residents in the way must drain."""
    min_residency_s: Seconds = 10
    """How long a newcomer keeps its place against equals; or four times the load time, if that is
    less."""
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
    on_hang: OnHang = OnHang.REPORT
    """A server that runs and does not answer is marked, and waited for; or stopped by force after
    `hang_s`, whatever it serves, and started anew."""
    hang_s: Annotated[float, Field(ge=10, le=86_400)] = 120
    """How long a server may stay silent before that."""

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
            restart_hung_s=self.hang_s if self.on_hang is OnHang.RESTART else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEntry:
    """How the models of one service are run, and by what."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    engine: Text
    runtime: RuntimeName = RuntimeName.PROCESS
    image: Text | None = None
    """docker: what containers are made of."""
    auto_pull: bool = False
    """docker: pull the image from its registry when it is missing."""
    container: Text | None = None
    """docker: one container that somebody else defined, to be started and stopped."""
    network: Text | None = None
    """docker: the network shared with the daemon, or bridge: Docker's own, with one port on
    loopback. Without it that one too, but closed containers are in a network of ours that leads
    nowhere."""
    networks: tuple[Text, ...] = ()
    """docker: networks of the daemon and nobody else. Each closed container has one for itself, so
    models do not reach each other; so many are there at once. Services share all or none."""
    direct: bool = False
    """docker: publish a port for clients beyond this machine. There are no keys: whoever reaches it
    may use it."""
    host: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$|^\[[0-9A-Fa-f:]+\]$")] | None
    ) = None
    """docker, direct: the name by which those clients reach this machine; its own if not given."""
    closed: bool | None = None
    """Start servers with keys that only the daemon and its edge know; `endpoint` in answers is the
    gateway's then. For engines llama_cpp, xllamacpp and fake, as processes or in containers that we
    make; null: where there were keys of the API when the daemon started, unless direct."""
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
    """engine llama_cpp: the llama-server to run, as a path or a name on PATH (or in the image)."""
    url: Url | None = None
    """external, or a named container: where the server answers."""
    key_file: Text | None = None
    """With `url`: a file with the key that this server asks for, which the daemon and nginx then
    send. Read when the daemon starts."""
    command: Command | None = None
    """engine command: what is run, as a list, or a line that is split as a shell would, for models
    without a command of their own. ${PORT}, ${HOST} and ${MODEL} are filled in at each start."""
    env: tuple[Variable, ...] = ()
    """engines command and llama_cpp: NAME=value, beside PATH, HOME, the language and CUDA's own."""
    health: UrlPath | None = None
    """engines command and container: the path that answers below 500 once it is ready; /health of
    a command, / of a container, if not given."""
    metrics: UrlPath | None = None
    """engines command and container: the path that tells whether it is in use: metrics as
    Prometheus reads them, or JSON. Without it only its clients' leases and requests are seen."""
    busy: tuple[Text, ...] = ()
    """The names there that say so: gauges above 0, counters that grow; of JSON, keys with dots.
    None given: those of llama.cpp, vLLM, SGLang and TGI."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """What the operator wrote about one model. What is None is the profile's, or the default."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    service: Text = ""
    """May be left out where there is one, or `discovery` has one."""
    file: Text | None = None
    """Under the service's models_dir, absolute in an allowed root, package:NAME/FILE.gguf, or of a
    model hub: ORG/REPO:FILE.gguf or ORG/REPO:Q4_K_M, with its parts and its projector. ORG/REPO
    alone is the best quantization that fits."""
    auto_download: bool = False
    """Bring the file from its hub when the model is first loaded."""
    mmproj: Text | None = None
    """The projector of a vision model."""
    lora: Adapters = ()
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
    extra_args: tuple[Text, ...] = ()
    """engine llama_cpp: more arguments of llama-server. What a key says is refused here; what moves
    bytes (--n-cpu-moe, --override-tensor, a draft model) needs `vram_mb`, which then counts."""
    profile: Text | None = None
    """A named set of threads, batch, context_size and max_tokens, one of those that ship or of
    `profiles`; keys given here win over it."""
    priority: Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = PRIORITY_DEFAULT
    """Higher matters more."""
    vram_mb: Mb | None = None
    """What it takes, where that cannot be estimated from `file`, until it has been measured."""
    host_mb: Mb | None = None
    """What it takes of the host's RAM beside that."""
    ttl_seconds: Seconds | None = None
    """Idle seconds after which it leaves by itself; null: it stays."""
    aliases: tuple[Text, ...] = ()
    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """How many requests it is sent at once, the others wait in order; null: as many as its slots,
    where they are ours to choose, else any number."""
    devices: tuple[Text, ...] = ()
    """Ids or names of the devices it may use; none given: any."""
    span: Annotated[int, Field(ge=1, le=64)] = 1
    """Over how many devices it may be spread."""
    preload: bool = False
    """Load it when the daemon starts."""
    keep_loaded: bool = False
    """It comes back by itself when there is room and nobody waits, and does not leave for being
    idle. No model leaves for it, and it gives way to whatever is asked for."""
    pinned: bool = False
    """It leaves only by force or its own unload."""
    command: Command | None = None
    """engine command: what is run for this model, in place of the service's command."""
    env: tuple[Variable, ...] = ()
    """engine command: beside the service's env, and winning over it."""
    fake: FakeBehaviour | None = None
    """How the stand-in of `engine: fake` behaves."""
    url: Url | None = None
    """external: where this model's server answers, if not at the service's url."""
    load_seconds: PositiveSeconds | None = None
    """How long a load takes, until it has been measured."""
    expected: ExpectedSpeeds | None = None
    """How fast it is where all is well, as `orchestrator bench` measures it."""
    degrade: tuple[Degrading, ...] = ()
    """What may be given up, in this order, when it does not fit; of a model with a GGUF `file`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileEntry(ProfileSettings):
    """One named set of settings. What is not said is the shipped profile's of that name, if there
    is one, else the model's own.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """At most one for each physical core is used."""
    batch: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    context_size: Annotated[int, Field(ge=1, le=CONTEXT_SIZE_MAX)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=CONTEXT_SIZE_MAX)] | None = None
    """How long an answer is if the request does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The whole file."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    server: ServerSettings = field(default_factory=ServerSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    edge: EdgeSettings | None = None
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    state_dir: Text = "state"
    """The registry and the logs of model servers."""
    on_shutdown: OnShutdown = OnShutdown.KEEP
    """keep: models outlive the daemon and are adopted; stop: they end with it."""
    devices: DeviceSettings = field(default_factory=DeviceSettings)
    discovery: DiscoverySettings = field(default_factory=DiscoverySettings)
    scheduling: SchedulingSettings = field(default_factory=SchedulingSettings)
    services: Mapping[str, ServiceEntry] = field(default_factory=dict)
    profiles: Mapping[str, ProfileEntry] = field(default_factory=dict)
    """Named sets of settings beside fast, balanced, quality, memory and batch, or over them."""
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
