"""What callers order and what they get: the words between the web and the desk.

An order is read from JSON and handed on as it is: its limits stand beside its fields, as those of
the configuration do. Strict about names: a misspelt `ttl_second` that is ignored is found out at
night. Patient about types: workflow expressions make strings of numbers, and null means "not
given".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    WithJsonSchema,
)
from typing_extensions import TypedDict

from orchestrator.access.keys.wish import no_boolean
from orchestrator.config.adapters import Scales
from orchestrator.config.models import NAME
from orchestrator.config.scalars import (
    CONTEXT_SIZE_MAX,
    MB_MAX,
    PRIORITY_MAX,
    SECONDS_MAX,
    TEXT_CHARS_MAX,
)
from orchestrator.config.sections import CacheType
from orchestrator.core.room.planner import Plan
from orchestrator.core.values.leases import Lease, LeaseId
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.residents import Resident
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.tickets import UnloadStatus
from orchestrator.core.values.vram import MiB

WAIT_S_DEFAULT = 240.0  # below the 300 s after which n8n gives up
WAIT_S_MAX = 3600.0  # no HTTP client waits longer; the load goes on anyway
LEASE_S_MAX = 7 * 86400.0  # a lease that is not renewed for a week is a leak; a pin has no end
NAME_CHARS_MAX = 200  # no model, owner or device has a longer one
GPU_LAYERS_MAX = 10_000
SLOTS_MAX = 256  # llama.cpp's own limit
UBATCH_MAX = 1 << 16
DEVICES_MAX = 64

# What a name has to be for the catalogue to have it. One that is none is told the nearest names,
# not the rule; the document states the rule, so that a generated client need not ask.
NAME_RULE: Mapping[str, Any] = {"pattern": f"^{NAME.pattern}$", "maxLength": 128}

# One changed setting of a load, to be sent back as it is.
Suggestion = Mapping[str, int | str]


# --- how values are read -----------------------------------------------------------------------


def _null_is_false(value: object) -> object:
    return False if value is None else value


def _seconds(value: object) -> object:
    """`true` waits as long as is wise, `false` not at all."""
    words: dict[object, float] = {"true": WAIT_S_DEFAULT, "false": 0.0}
    if value is None or value is True:
        return WAIT_S_DEFAULT
    if value is False:
        return 0.0
    return words.get(value.strip().lower(), value) if isinstance(value, str) else value


def _empty_is_absent(value: object) -> object:
    """Expressions of workflows that find nothing make an empty text."""
    return None if isinstance(value, str) and not value.strip() else value


def _number_of_layers(value: object) -> object:
    """`all` is as many as no model has."""
    if isinstance(value, str) and not value.strip().lstrip("+-").isdecimal():
        if value.strip().lower() != "all":
            raise ValueError("should be a number of layers or all")
        return GPU_LAYERS_MAX
    return no_boolean(value)


def _layers(number: int) -> int | str:
    return "all" if number == GPU_LAYERS_MAX else number


_Number = BeforeValidator(no_boolean)
# Not of `owner` and `lease_id`: an unload without them means everybody.
_OrEmpty = BeforeValidator(_empty_is_absent)
_NumberOfLayers = Annotated[
    int,
    Field(ge=0, le=GPU_LAYERS_MAX),
    BeforeValidator(_number_of_layers),
    AfterValidator(_layers),
]

Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
MaybeName = Annotated[Annotated[str, Field(max_length=NAME_CHARS_MAX)] | None, _OrEmpty]
NameOfModel = Annotated[Name, Field(json_schema_extra=dict(NAME_RULE))]
Path = Annotated[str, Field(min_length=1, max_length=TEXT_CHARS_MAX)]
Flag = Annotated[
    bool,
    BeforeValidator(_null_is_false, json_schema_input_type=bool | Literal[0, 1] | None),
]
Priority = Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX), _Number]
Mb = Annotated[int, Field(ge=1, le=MB_MAX), _Number]
ContextSize = Annotated[int, Field(ge=1, le=CONTEXT_SIZE_MAX), _Number]
IdleSeconds = Annotated[float, Field(ge=0, le=SECONDS_MAX, allow_inf_nan=False), _Number]
LeaseSeconds = Annotated[float, Field(gt=0, le=LEASE_S_MAX, allow_inf_nan=False), _Number]
Layers = Annotated[  # on GPUs; the output counts as one
    int | Literal["all"],
    GetPydanticSchema(lambda _, handler: handler(_NumberOfLayers)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": GPU_LAYERS_MAX},
                {"const": "all"},
            ],
            "description": "how many, or all of them",
        }
    ),
]
Wait = Annotated[
    float,
    Field(ge=0, le=WAIT_S_MAX, allow_inf_nan=False, alias="wait"),
    BeforeValidator(_seconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {"type": "number", "minimum": 0, "maximum": WAIT_S_MAX},
                {"type": "null"},
            ],
            "description": "true, null: as long as is wise (240 s); false: not at all; or seconds",
        }
    ),
]


def _taken(example: dict[str, Any], **rules: object) -> ConfigDict:
    """An order of known fields only. `rules` says in JSON Schema what `__post_init__` refuses."""
    return ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [example], **rules},  # type: ignore[dict-item]
    )


def example_of(order: type[Any]) -> dict[str, Any]:
    """Shown in the document, and to a caller that sends nothing."""
    example: dict[str, Any] = order.__pydantic_config__["json_schema_extra"]["examples"][0]
    return example


def _given(kind: str, *names: str) -> Mapping[str, Any]:
    """The JSON Schema of a body that has these fields, where null is not given."""
    return {"required": [*names], "properties": {name: {"type": kind} for name in names}}


# --- orders --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """A model that should be ready."""

    __pydantic_config__: ClassVar[ConfigDict] = _taken(
        {"model": "qwen3-vl-30b", "priority": 5, "wait": True}
    )

    model: NameOfModel
    """Name or alias."""
    service: MaybeName = None
    """Must be the model's own, if given; empty is not given."""
    priority: Priority | None = None
    """Higher matters more; else the model's."""
    wait_s: Wait = WAIT_S_DEFAULT
    ttl_s: Annotated[IdleSeconds | None, Field(alias="ttl_seconds")] = None
    """Idle seconds after which it leaves by itself."""
    owner: Name | None = None
    """Who keeps it: the lease is theirs."""
    lease_s: Annotated[LeaseSeconds | None, Field(alias="lease_seconds")] = None
    """How long it is kept."""
    profile: MaybeName = None
    """One of those that ship, or of `profiles` of the configuration."""
    context_size: ContextSize | None = None
    gpu_layers: Layers | None = None
    cache_type: CacheType | None = None
    """Of keys and values."""
    lora_scales: Scales | None = None
    """One for each of the model's adapters, in their order."""
    pin: Flag = False
    evict: Literal["never"] | None = None
    """never: only if no model has to leave for it; else it is refused at once."""
    callback_url: Path | None = None
    """Is told how the load ended, in a POST; must lie under one of `webhooks.callback_urls`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadOrder:
    """A model, or one owner's hold on it, that should go."""

    __pydantic_config__: ClassVar[ConfigDict] = _taken(
        {"model": "qwen3-vl-30b", "force": False}, **{"not": _given("string", "owner", "lease_id")}
    )

    model: NameOfModel
    force: Flag = False
    """Stop it also in use or pinned."""
    owner: Name | None = None
    """End this owner's lease only; not together with lease_id."""
    lease: Annotated[
        Annotated[LeaseId, Field(min_length=1, max_length=NAME_CHARS_MAX)] | None,
        Field(alias="lease_id"),
    ] = None
    """End this lease only."""
    wait_s: Wait = WAIT_S_DEFAULT

    def __post_init__(self) -> None:
        if self.owner is not None and self.lease is not None:
            raise ValueError("give owner or lease_id, not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomOrder:
    """VRAM for work that is not a model server."""

    __pydantic_config__: ClassVar[ConfigDict] = _taken(
        {"vram_mb": 8192, "owner": "comfyui", "ttl_seconds": 600}
    )

    vram_mb: Mb
    owner: Name
    lease_s: Annotated[LeaseSeconds, Field(alias="ttl_seconds")]
    """It ends by itself unless it is renewed."""
    device: Name | None = None
    """A device's id; else any."""
    priority: Priority | None = None
    wait_s: Wait = WAIT_S_DEFAULT

    @property
    def vram_bytes(self) -> int:
        return self.vram_mb * MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewOrder:
    """A lease that should last longer, from now."""

    __pydantic_config__: ClassVar[ConfigDict] = _taken(
        {"ttl_seconds": 600},
        oneOf=[_given("number", "ttl_seconds"), _given("number", "lease_seconds")],
    )

    ttl_seconds: LeaseSeconds | None = None
    """From now."""
    lease_seconds: LeaseSeconds | None = None
    """The same by the name that a load gives it; one of them."""

    def __post_init__(self) -> None:
        if (self.ttl_seconds is None) == (self.lease_seconds is None):
            raise ValueError("give ttl_seconds or lease_seconds, one of them")

    @property
    def lease_s(self) -> float:
        return self.ttl_seconds or self.lease_seconds or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateOrder:
    """A model of the catalogue or a file, under settings that it may not have yet."""

    __pydantic_config__: ClassVar[ConfigDict] = _taken(
        {"model": "qwen3-vl-30b", "context_size": 16384},
        oneOf=[_given("string", "model"), _given("string", "file")],
    )

    model: NameOfModel | None = None
    """Name or alias; or give a file."""
    file: Path | None = None
    """Where a service may read it, or on a hub: ORG/REPO:Q4_K_M."""
    service: MaybeName = None
    """Whose files; else the first that may."""
    mmproj: Path | None = None
    """Its projector; else the model's."""
    gpus: Annotated[int, Field(ge=1, le=DEVICES_MAX), _Number] | None = None
    """Spread evenly over so many; else as many as the model may span."""
    profile: MaybeName = None
    """A named set of settings; what is given beside it wins over it."""
    context_size: ContextSize | None = None
    """Of each slot with split_cache, of all slots together without."""
    slots: Annotated[int, Field(ge=1, le=SLOTS_MAX), _Number] | None = None
    split_cache: bool | None = None
    """true: each slot has its own context."""
    cache_type: CacheType | None = None
    ubatch: Annotated[int, Field(ge=1, le=UBATCH_MAX), _Number] | None = None
    gpu_layers: Layers | None = None
    flash_attention: bool | None = None

    def __post_init__(self) -> None:
        if (self.model is None) == (self.file is None):
            raise ValueError("give model or file, one of them")

    @property
    def unified_cache(self) -> bool | None:
        return None if self.split_cache is None else not self.split_cache


class FakeDeviceOrder(TypedDict, total=False):
    """What a fake device should pretend. What is not mentioned stays as it is."""

    __pydantic_config__ = _taken({"foreign_mb": 4096, "fault": None})  # type: ignore[misc]

    foreign_mb: Annotated[int, Field(ge=0, le=MB_MAX), _Number] | None
    """Held by somebody else from now on."""
    fault: Literal["unreadable", "lost"] | None
    """null mends it."""


# --- outcomes ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOutcome:
    resident: Resident
    lease: Lease | None
    evicted: tuple[ModelName, ...]
    already_loaded: bool
    waited_s: float
    durable: bool = True  # its lease and its pin are on the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadOutcome:
    spec: ModelSpec
    status: UnloadStatus
    freed_bytes: int
    verified: bool
    remaining_leases: int
    note: str = ""  # what the caller should know beside that
    durable: bool = True  # the end of the leases is on the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomOutcome:
    lease: Lease
    resident: Resident
    evicted: tuple[ModelName, ...]
    durable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewOutcome:
    lease: Lease
    durable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOutcome:
    """A model of the catalogue, as it is from now on."""

    spec: ModelSpec
    durable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would happen, to whom and why, without doing it."""

    spec: ModelSpec
    plan: Plan | None
    refusal: Refusal | None
    available_bytes: int
    eta_s: float | None
    already_loaded: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadOutcome:
    """What a new configuration changed at once, and what only a restart can change."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]
    file: str
    file_changed_s: float | None = None  # wall time; None: it is gone since it was read
    durable: bool = True  # what it changed of pins is on the disk
