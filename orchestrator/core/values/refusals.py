"""Why a wish cannot be granted: a value that explains itself (R17)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId


class RefusalCode(StrEnum):
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_SERVICE = "unknown_service"
    UNKNOWN_PROFILE = "unknown_profile"
    DOES_NOT_FIT = "does_not_fit"  # not even on empty devices: never retry
    OVER_QUOTA = "over_quota"  # its key holds too much already
    NO_ROOM = "no_room"  # not now: the room is held
    DEVICE_UNREADABLE = "device_unreadable"
    QUEUE_FULL = "queue_full"
    BREAKER_OPEN = "breaker_open"
    LOAD_FAILED = "load_failed"
    IN_USE = "in_use"
    PINNED = "pinned"
    CONFLICT = "conflict"
    SHUTTING_DOWN = "shutting_down"
    SERVER_SILENT = "server_silent"
    RUNTIME_UNAVAILABLE = "runtime_unavailable"  # what it runs on does not answer now


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """One reason why there is no room: a resident, or foreign bytes."""

    device: DeviceId
    held_bytes: int
    why: str
    model: ModelName | None = None  # None: not ours
    lasting: bool = False  # will not go away by waiting: a pin
    ends_s: float | None = None  # the instant at which it will have ended, if that is known


@dataclass(frozen=True, slots=True, kw_only=True)
class FittingFile:
    """The best known quantization of a model that would fit, where it is not its own."""

    file: str  # as the catalogue writes it: a path, or ORG/REPO:FILE
    quantization: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    code: RefusalCode
    detail: str
    remedy: str = ""
    needed_bytes: int | None = None
    available_bytes: int | None = None
    foreign_bytes: int | None = None
    room_bytes: int | None = None  # what it would have to fit into, on one device
    host_room_bytes: int | None = None  # and what stays in host RAM beside it; None: unbounded
    short_beside: DeviceId | None = None  # the host, if the numbers are about its RAM
    blockers: tuple[Blocker, ...] = ()
    retry_after_s: float | None = None
    possible_s: float | None = None  # the instant at which there will be room, if that is known
    earliest_s: float = 0.0  # and the one before which there will be none
    failure: Failure | None = None
    lasting: bool = True  # waiting will not help
    # Changed settings of the same order that would do; previews add them where they can be told.
    suggestions: tuple[Mapping[str, int | str], ...] = ()
    fitting_file: FittingFile | None = None  # another quantization that would do; added likewise
