"""What callers may send. Strict about names, patient about types.

Unknown fields are refused, because a misspelt `ttl_second` that is ignored is found out at night.
Numbers may come as strings and null means "not given": workflow expressions make them so.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from orchestrator.config.sections import CacheType
from orchestrator.core.values.leases import LeaseId
from orchestrator.core.values.specs import Profile
from orchestrator.core.values.vram import MiB
from orchestrator.orders import (
    WAIT_S_DEFAULT,
    EstimateOrder,
    Layers,
    LoadOrder,
    RoomOrder,
    UnloadOrder,
)

NAME_CHARS_MAX = 200  # no model, owner or device has a longer one
WAIT_S_MAX = 3600.0  # nobody's HTTP client waits longer; the load goes on anyway
LEASE_S_MAX = 7 * 86400.0  # a lease that nobody renews for a week is a leak; a pin has no end
TTL_S_MAX = 366 * 86400.0
PRIORITY_MAX = 1_000_000
VRAM_MB_MAX = 1 << 30  # a pebibyte: more is a slip of the unit
CONTEXT_SIZE_MAX = 1 << 24  # sixteen times the longest context of any model today
GPU_LAYERS_MAX = 10_000
SLOTS_MAX = 256  # llama.cpp's own limit
UBATCH_MAX = 1 << 16
DEVICES_MAX = 64
PATH_CHARS_MAX = 4096  # the kernel's limit


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")  # noqa: TRY004 - pydantic's way
    return value


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


def _layers(value: object) -> object:
    """`all` is as many as no model has."""
    if isinstance(value, str) and not value.strip().lstrip("+-").isdecimal():
        if value.strip().lower() != "all":
            raise ValueError("should be a number of layers or all")
        return GPU_LAYERS_MAX
    return _no_boolean(value)


def _as_layers(number: int | None) -> Layers | None:
    return "all" if number == GPU_LAYERS_MAX else number


Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARS_MAX)]
Whole = Annotated[int, BeforeValidator(_no_boolean)]
Seconds = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
Flag = Annotated[bool, BeforeValidator(_null_is_false)]
Wait = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(ge=0, le=WAIT_S_MAX, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "boolean"},
                {"type": "number", "minimum": 0, "maximum": WAIT_S_MAX},
            ],
            "default": True,
            "description": "true: as long as is wise (240 s), false: not at all, or seconds",
        }
    ),
]
ContextSize = Annotated[Whole, Field(ge=1, le=CONTEXT_SIZE_MAX)]
GpuLayers = Annotated[
    int,
    BeforeValidator(_layers),
    Field(ge=0, le=GPU_LAYERS_MAX),
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
Text = Annotated[str, Field(min_length=1, max_length=PATH_CHARS_MAX)]
Priority = Annotated[Whole, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX)]
LeaseSeconds = Annotated[Seconds, Field(gt=0, le=LEASE_S_MAX)]


class WriteBody(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: ClassVar[dict[str, object]]  # shown in the docs, and to whoever sends nothing

    @classmethod
    def example(cls) -> dict[str, object]:
        return cls.sample


def _shown(sample: dict[str, object]) -> ConfigDict:
    return ConfigDict(json_schema_extra=lambda schema: schema.update(examples=[dict(sample)]))


class LoadBody(WriteBody):
    """A model that should be ready."""

    sample = {"model": "qwen3-vl-30b", "priority": 5, "wait": True}
    model_config = _shown(sample)

    model: Name = Field(description="Name or alias.")
    service: Name | None = Field(None, description="Must be the model's own, if given.")
    priority: Priority | None = Field(None, description="Higher matters more; else the model's.")
    wait: Wait = WAIT_S_DEFAULT
    ttl_seconds: Annotated[Seconds, Field(ge=0, le=TTL_S_MAX)] | None = Field(
        None, description="Idle seconds after which it leaves by itself."
    )
    owner: Name | None = Field(None, description="Who keeps it: the lease is theirs.")
    lease_seconds: LeaseSeconds | None = Field(None, description="How long it is kept.")
    profile: Profile | None = None
    context_size: ContextSize | None = None
    gpu_layers: GpuLayers | None = None
    cache_type: CacheType | None = Field(None, description="Of keys and values.")
    pin: Flag = False

    def order(self) -> LoadOrder:
        return LoadOrder(
            model=self.model,
            service=self.service,
            priority=self.priority,
            ttl_s=self.ttl_seconds,
            owner=self.owner,
            lease_s=self.lease_seconds,
            profile=self.profile,
            context_size=self.context_size,
            gpu_layers=_as_layers(self.gpu_layers),
            cache_type=self.cache_type,
            pin=self.pin,
        )


class EstimateBody(WriteBody):
    """A model of the catalogue or a file, under settings that it may not have yet."""

    sample = {"model": "qwen3-vl-30b", "context_size": 16384}
    model_config = _shown(sample)

    model: Name | None = Field(None, description="Name or alias; or give a file.")
    file: Text | None = Field(None, description="Where a service may read it.")
    service: Name | None = Field(None, description="Whose files; else the first that may.")
    mmproj: Text | None = Field(None, description="Its projector; else the model's.")
    gpus: Annotated[Whole, Field(ge=1, le=DEVICES_MAX)] | None = Field(
        None, description="Spread evenly over so many; else as many as the model may span."
    )
    context_size: ContextSize | None = Field(
        None, description="Of each slot with split_cache, of all slots together without."
    )
    slots: Annotated[Whole, Field(ge=1, le=SLOTS_MAX)] | None = None
    split_cache: bool | None = Field(None, description="true: each slot has its own context.")
    cache_type: CacheType | None = None
    ubatch: Annotated[Whole, Field(ge=1, le=UBATCH_MAX)] | None = None
    gpu_layers: GpuLayers | None = None
    flash_attention: bool | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.model is None) == (self.file is None):
            raise ValueError("give model or file, one of them")
        return self

    def order(self) -> EstimateOrder:
        return EstimateOrder(
            model=self.model,
            file=self.file,
            service=self.service,
            mmproj=self.mmproj,
            gpus=self.gpus,
            context_size=self.context_size,
            slots=self.slots,
            unified_cache=None if self.split_cache is None else not self.split_cache,
            cache_type=self.cache_type,
            ubatch=self.ubatch,
            gpu_layers=_as_layers(self.gpu_layers),
            flash_attention=self.flash_attention,
        )


class UnloadBody(WriteBody):
    """A model, or one owner's hold on it, that should go."""

    sample = {"model": "qwen3-vl-30b", "force": False}
    model_config = _shown(sample)

    model: Name
    force: Flag = Field(False, description="Stop it also in use or pinned.")
    owner: Name | None = Field(None, description="End this owner's lease only.")
    lease_id: Name | None = Field(None, description="End this lease only.")
    wait: Wait = WAIT_S_DEFAULT

    @model_validator(mode="after")
    def _one_holder(self) -> Self:
        if self.owner is not None and self.lease_id is not None:
            raise ValueError("give owner or lease_id, not both")
        return self

    def order(self) -> UnloadOrder:
        return UnloadOrder(
            model=self.model,
            force=self.force,
            owner=self.owner,
            lease=LeaseId(self.lease_id) if self.lease_id is not None else None,
            wait_s=self.wait,
        )


class RoomBody(WriteBody):
    """VRAM for work that is not a model server."""

    sample = {"vram_mb": 8192, "owner": "comfyui", "ttl_seconds": 600}
    model_config = _shown(sample)

    vram_mb: Annotated[Whole, Field(ge=1, le=VRAM_MB_MAX)]
    owner: Name
    ttl_seconds: LeaseSeconds = Field(description="It ends by itself unless it is renewed.")
    device: Name | None = Field(None, description="A device's id; else any.")
    priority: Priority | None = None
    wait: Wait = WAIT_S_DEFAULT

    def order(self) -> RoomOrder:
        return RoomOrder(
            vram_bytes=self.vram_mb * MiB,
            owner=self.owner,
            lease_s=self.ttl_seconds,
            device=self.device,
            priority=self.priority,
            wait_s=self.wait,
        )


class FakeBody(WriteBody):
    """What a fake device should pretend."""

    sample = {"foreign_mb": 4096, "fault": None}
    model_config = _shown(sample)

    foreign_mb: Annotated[Whole, Field(ge=0, le=VRAM_MB_MAX)] | None = Field(
        None, description="Held by somebody else from now on."
    )
    fault: Literal["unreadable", "lost"] | None = Field(None, description="null mends it.")

    def changes(self) -> dict[str, Any]:
        """Only what was sent: a fault that is not mentioned stays as it is."""
        changes: dict[str, Any] = {}
        if self.foreign_mb is not None:
            changes["foreign_bytes"] = self.foreign_mb * MiB
        if "fault" in self.model_fields_set:
            changes["fault"] = self.fault
        return changes


class RenewBody(WriteBody):
    """A lease that should last longer, from now."""

    sample = {"ttl_seconds": 600}
    model_config = _shown(sample)

    ttl_seconds: LeaseSeconds = Field(
        validation_alias=AliasChoices("ttl_seconds", "lease_seconds"),
        description="From now. lease_seconds is taken too.",
    )
