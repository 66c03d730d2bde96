"""The shapes of the answers: what `wire` makes, what the OpenAPI document promises.

Sizes that end in `_mb` are integers of 1024² bytes, instants are ISO 8601 with a zone, unknown
is null. Fields may be added, never removed or retyped.
"""

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from orchestrator.web.wire.error_shapes import FittingFileShape, Suggestion
from orchestrator.web.wire.request_shapes import DownloadShape
from orchestrator.web.wire.speed_shapes import SpeedShape

LoadedStatus = Literal["loading", "loaded", "draining", "unloading", "stuck"]


class Kept(TypedDict):
    durable: NotRequired[Literal[False]]  # it holds, but the disk has not taken it


class Undurable(TypedDict):
    durable: Literal[False]


class DeviceShare(TypedDict):
    device: str
    vram_mb: int


class Hold(TypedDict):
    """A lease of a model by an owner."""

    lease_id: str
    owner: str | None
    priority: int
    granted_at: str
    expires_at: str | None


class ModelLease(Hold):
    model: str
    kind: str


class Room(TypedDict):
    vram_mb: int
    device: str | None


class RoomLease(Hold, Room):
    pass


class Slots(TypedDict):
    slots: int | None  # null: neither ours to choose nor told by its server
    context_per_slot: int | None


class LoadedModel(Slots):
    model: str
    service: str
    loaded_at: str | None
    status: LoadedStatus
    loading_since: str | None  # while it loads
    ready_at: str | None  # expected, while it loads
    usual_seconds: float | None  # that its loads take; null: it was not loaded before
    vram_mb: int
    vram_provenance: str
    estimated_mb: int | None  # before it was measured; null: nothing was known
    process_id: int | None
    container_id: str | None
    priority: int
    pinned: bool
    in_flight: int
    busy: bool
    leases: list[Hold]
    last_used_at: str
    expires_at: str | None
    endpoint: str | None
    devices: list[DeviceShare]
    serving: dict[str, object] | None  # null: its settings are not ours
    why_leaving: str
    problem: str  # it serves, but not as it should
    silent_since: str | None  # its server does not answer
    given_up: list[str]  # what it had to do without, as its `degrade` list allows


class Figures(TypedDict):
    total_mb: int | None
    used_mb: int | None
    free_mb: int | None
    available_mb: int | None
    foreign_mb: int | None
    headroom_mb: int
    utilization_percent: float | None
    memory_used_percent: float | None


class DeviceShape(Figures):
    id: str
    name: str
    kind: str
    state: str
    problem: str
    read_at: str
    temperature_c: float | None
    charged_mb: int


class Waiter(TypedDict):
    model: str
    priority: int
    callers: int
    waited_seconds: float
    bound_seconds: float
    waits_for: str
    possible_at: str | None


class Status(Figures):
    now: str
    loaded_models: dict[str, LoadedModel]
    devices: list[DeviceShape]
    leases: list[RoomLease]
    queue: list[Waiter]
    downloads: list[DownloadShape]
    speeds: list[SpeedShape]  # of models with `expected`


class LoadAnswer(Kept):
    success: Literal[True]
    model: str
    service: str
    status: Literal["loaded"]
    loaded_at: str | None
    endpoint: str | None
    vram_mb: int
    devices: list[DeviceShare]
    evicted: list[str]
    already_loaded: bool
    waited_seconds: float
    given_up: NotRequired[list[str]]
    lease_id: NotRequired[str]
    expires_at: NotRequired[str | None]


class Accepted(TypedDict):
    success: Literal[True]
    model: str
    status: str
    operation_id: str
    status_url: str
    eta_seconds: float | None


class UnloadAnswer(Kept):
    success: Literal[True]
    status: Literal["unloaded", "not_loaded", "released"]
    model: str
    service: str
    freed_mb: int
    verified: bool
    remaining_leases: int
    note: NotRequired[str]


class Leaver(TypedDict):
    model: str
    vram_mb: int
    reason: str


class RefusalShape(TypedDict):
    code: str
    detail: str
    remedy: str
    needed_mb: NotRequired[int]
    available_mb: NotRequired[int]
    foreign_mb: NotRequired[int]
    possible_at: NotRequired[str]
    blockers: NotRequired[list[dict[str, object]]]
    retry_after_seconds: NotRequired[float]
    suggestions: NotRequired[list[Suggestion]]
    fitting_file: NotRequired[FittingFileShape]
    cause: NotRequired[str]
    short_of: NotRequired[str]
    log_tail: NotRequired[list[str]]


class PlanAnswer(TypedDict):
    fits: bool
    model: str
    vram_mb: int | None  # None: its hub did not tell
    vram_provenance: str
    available_mb: int
    evict: list[Leaver]
    placement: list[DeviceShare]
    eta_seconds: float | None
    already_loaded: bool
    drains: bool
    given_up: list[str]  # what it would have to do without, as its `degrade` list allows
    refusal: RefusalShape | None
    suggestions: list[Suggestion]  # one changed setting that would do: send it back
    fitting_file: FittingFileShape | None


class EstimateParts(TypedDict):
    weights_mib: float
    context_mib: float
    compute_mib: float


class EstimateDevice(EstimateParts):
    device_mib: float
    overhead_mib: float


class EstimateAnswer(EstimateDevice):
    """The sums over all GPUs, then GPU by GPU, then the host's; `_mb` is what is reserved."""

    model: str
    file: str
    hub: str | None  # where the file comes from
    host_mib: float
    architecture: str
    method: str
    devices: list[EstimateDevice]
    host: EstimateParts
    doubts: list[str]
    vram_mb: int
    host_mb: int
    without_gpu_mb: int
    serving: dict[str, object]
    fitting_file: FittingFileShape | None


class BreakerShape(TypedDict):
    failures: int
    open_until: str | None
    cause: str | None
    detail: str
    remedy: str


class FailureShape(TypedDict):
    cause: str
    detail: str
    remedy: str


class RouterStatus(TypedDict):
    value: str
    args: list[str]
    failed: NotRequired[bool]


class Takes(TypedDict):
    vram_mb: int | None  # None: its file is on a hub, and not looked at yet
    host_mb: int | None


class Described(TypedDict):
    """What its files say of it; null where they are not ours to read."""

    fits: Literal["now", "after_evictions", "never"] | None
    modalities: list[str] | None
    tools: bool | None
    trained_context: int | None
    quantization: str | None
    parameters: str | None


class CatalogueEntry(Slots, Takes, Described):
    """One model in the shape of llama.cpp's router, with our fields beside."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    aliases: list[str]
    tags: list[str]
    status: RouterStatus
    state: str
    service: str
    priority: int
    pinned: bool
    vram_provenance: str
    ttl_seconds: float | None
    load_seconds: float
    context_size: int | None  # null: it is not ours to choose
    profile: str | None
    devices: list[str]
    keep_loaded: bool
    away_because: str  # of one that is kept loaded and is not: what it waits for
    hub: str | None  # where its file comes from
    auto_download: bool
    found: bool
    breaker: BreakerShape | None
    failure: FailureShape | None


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[CatalogueEntry]


class OtherName(TypedDict):
    """A name that requests may have for their model: of a task, or of a chain."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    stands_for: list[str]


class NameList(TypedDict):
    object: Literal["list"]
    data: list[CatalogueEntry | OtherName]


class UnderProfile(Takes):
    context_size: int


class AppliedAdapter(TypedDict):
    file: str
    scale: float


class ModelAnswer(CatalogueEntry):
    profiles: dict[str, UnderProfile]  # empty: its settings are not ours
    tells_use: bool
    serving: dict[str, object] | None  # null: its settings are not ours
    lora: list[AppliedAdapter]
    resident: LoadedModel | None


class ChangedModel(ModelAnswer, Kept):
    pass


class DeviceList(TypedDict):
    devices: list[DeviceShape]


class RoomAnswer(Kept):
    lease_id: str
    vram_mb: int
    device: str | None
    owner: str | None
    expires_at: str | None
    evicted: list[str]


class RoomLeases(TypedDict):
    leases: list[RoomLease]


class ModelLeases(TypedDict):
    leases: list[ModelLease]


class RenewAnswer(Kept):
    lease_id: str
    owner: str | None
    expires_at: str | None


class Pinned(Kept):
    model: str
    pinned: bool


class Logs(TypedDict):
    model: str
    lines: list[str]


class Reloaded(Kept):
    success: Literal[True]
    changed: list[str]
    restart_needed: list[str]
    file: str
    file_changed_at: str | None


class Itself(TypedDict):
    config: str
    state_dir: str
    folders: list[str]
    services: dict[str, str]
    service: str | None  # null: no service runs what names none
