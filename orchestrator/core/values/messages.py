"""Everything that can happen, and everything that can be done about it, on one page.

Events are facts, named in the past tense. Effects are orders, named in the imperative.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.values.decisions import Decide
from orchestrator.core.values.failures import Failure, Silence
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.key_bounds import KeyBound
from orchestrator.core.values.leases import Lease, LeaseId, LeaseKind
from orchestrator.core.values.measurements import Measurement
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.residents import Endpoint, InstanceId, Placement, Resident, UseAnswer
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, ServiceName
from orchestrator.core.values.tickets import Ticket, UnloadStatus
from orchestrator.core.values.vram import DeviceId, Reading

# --- events: wishes of callers ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A caller wants `spec` ready. `hold` says what lease the grant comes with."""

    ticket: Ticket
    spec: ModelSpec
    priority: int
    hold: LeaseKind | None = None  # None: no lease is kept afterwards (a plain load)
    lease_s: float | None = None
    owner: str | None = None
    ttl_s: float | None = None
    pin: bool = False
    evicts: bool = True  # False: only where no resident has to leave for it; else refused at once
    deadline_s: float | None = None  # instant after which the wish is refused; None: the bound
    key: str | None = None  # of whom: what it brings and leases is charged to that API key
    bounds: tuple[KeyBound, ...] = ()  # of what that key may hold; none: no bound


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The caller left without its answer. What was granted meanwhile is taken back if unused."""

    ticket: Ticket
    load_goes_on: bool = False  # the model still comes, but with no lease or pin of this wish


@dataclass(frozen=True, slots=True)
class Released:
    """A lease was given back. Giving back what has ended already is not an error."""

    lease: LeaseId


@dataclass(frozen=True, slots=True)
class Renewed:
    lease: LeaseId
    expires_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UnloadRequested:
    ticket: Ticket
    model: ModelName
    force: bool = False
    owner: str | None = None  # release this owner's lease; leave only if no other lease is left
    lease: LeaseId | None = None
    deadline_s: float  # instant until which users may finish, then IN_USE
    ended: tuple[LeaseId, ...] = ()  # the leases that it has ended: the scheduler's note


@dataclass(frozen=True, slots=True)
class PinChanged:
    model: ModelName
    pinned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesChanged:
    """The operator changed the numbers: they hold from this decision on."""

    rules: Rules
    headroom_bytes: int
    budget_bytes: Mapping[str, int] | int | None


@dataclass(frozen=True, slots=True)
class CatalogueChanged:
    specs: ModelSpecs


# --- events: what came of effects, and what the world did -----------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """It answers. `measured` is what its processes hold, `peak` the most that they held: of the
    devices whose driver tells.
    """

    instance: InstanceId
    endpoint: Endpoint
    load_s: float
    slots: tuple[int, ...] = ()  # the tokens that each request at a time may have, where it tells
    measured: Mapping[DeviceId, int] | None = None
    peak: Mapping[DeviceId, int] | None = None


@dataclass(frozen=True, slots=True)
class Bringing:
    """Something that the model needs is on its way here: how far it is, in words."""

    model: ModelName
    progress: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a model's files and binary looked like before a resident was asked to leave for it."""

    model: ModelName
    failure: Failure | None
    spec: ModelSpec | None = None  # the one that was looked at, with what was found out or brought


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """Nothing of it is left running; its bytes may still be on their way back."""

    instance: InstanceId
    failure: Failure


@dataclass(frozen=True, slots=True)
class Stopped:
    """The thing is verified gone (R10). Its bytes may still be on their way back (R3)."""

    instance: InstanceId


@dataclass(frozen=True, slots=True)
class StopFailed:
    instance: InstanceId
    detail: str


@dataclass(frozen=True, slots=True)
class Died:
    """A server that was ready ended without being told to."""

    instance: InstanceId
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class UseSeen:
    """The server's own counters: `busy` now, `used` since the last look (R13)."""

    instance: InstanceId
    busy: bool
    used: bool


@dataclass(frozen=True, slots=True)
class UseAnswered:
    """What came of `AskUse`, all answers together."""

    look: int
    answers: Mapping[InstanceId, UseAnswer]


@dataclass(frozen=True, slots=True)
class ServerHeard:
    """Whether the server of a model that is ready answers: since when not, or None if it does."""

    instance: InstanceId
    silent_since_s: float | None


@dataclass(frozen=True, slots=True)
class Sampled:
    """Fresh readings; `held` is what our residents' own processes were seen to hold."""

    readings: Sequence[Reading]
    held: Mapping[InstanceId, Mapping[DeviceId, int]]


@dataclass(frozen=True, slots=True)
class RuntimesHeard:
    """Which services run on something that does not answer; the others' answer."""

    silent: Mapping[ServiceName, Silence]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What runs without our having started it in this life, and the leases that outlived us.

    `unseen` are those that could not be looked at: they are only believed to run. `pins` are the
    operator's, as they were last saved.
    """

    residents: Sequence[Resident]
    leases: Sequence[Lease] = ()
    why: str = "it outlived the daemon"
    unseen: frozenset[InstanceId] = frozenset()
    pins: Mapping[ModelName, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time passed. Deadlines, expiries and patience are looked at."""


@dataclass(frozen=True, slots=True)
class ShutdownBegan:
    """No new wishes are granted; those that wait are refused."""

    stop_residents: bool


Event = (
    Requested
    | Withdrawn
    | Released
    | Renewed
    | UnloadRequested
    | PinChanged
    | RulesChanged
    | CatalogueChanged
    | Bringing
    | Checked
    | Loaded
    | LoadFailed
    | Stopped
    | StopFailed
    | Died
    | UseSeen
    | UseAnswered
    | ServerHeard
    | Sampled
    | RuntimesHeard
    | Recovered
    | Ticked
    | ShutdownBegan
)


# --- effects ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The wish came true: `resident` serves, and `lease` (if one was asked for) holds it."""

    ticket: Ticket
    resident: Resident
    lease: Lease | None
    evicted: tuple[ModelName, ...]  # who left so that this one could come
    already_loaded: bool
    pinned: bool = False  # as the wish wanted it
    durable: bool = True  # filled in by the conductor: whether what it gives is on the disk


@dataclass(frozen=True, slots=True)
class Deny:
    ticket: Ticket
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """An unload came to its end."""

    ticket: Ticket
    status: UnloadStatus
    freed_bytes: int
    verified: bool
    remaining_leases: int
    note: str = ""  # what the caller should know beside that
    released: tuple[LeaseId, ...] = ()  # the leases that ended by it
    durable: bool = True  # filled in by the conductor, as of a grant


@dataclass(frozen=True, slots=True)
class Remember:
    """Write the resident down before anything is done about it: the write-ahead log."""

    resident: Resident


@dataclass(frozen=True, slots=True)
class Forget:
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class KeepLease:
    lease: Lease


@dataclass(frozen=True, slots=True)
class DropLease:
    lease: LeaseId


@dataclass(frozen=True, slots=True)
class Check:
    """Look whether it could start at all. Sent before a resident has to leave for it (R1).

    Of a spec whose footprint is unknown only that is found out; of another one, what it needs and
    is not here is brought.
    """

    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class Uncheck:
    """No caller wants it any more: end a check that is still under way."""

    model: ModelName


@dataclass(frozen=True, slots=True)
class Load:
    """Bring it up. Sent once its evictions are done and the device has the bytes."""

    resident: Resident


@dataclass(frozen=True, slots=True)
class AskUse:
    """Ask servers that are to leave whether they are idle: a request may be younger than the last
    look at them. All at once, and after what was to be remembered of them is written.
    """

    look: int
    residents: tuple[Resident, ...]


@dataclass(frozen=True, slots=True)
class Evict:
    """Take it down, also out of a load in progress."""

    resident: Resident
    force: bool = False
    asked: bool = False  # it has just said that it is idle: no time is lost before its stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Learn:
    """A footprint or a load time was learned: remember it for the next time."""

    model: ModelName
    spec: ModelSpec
    footprint: Footprint
    placement: Placement
    load_s: float | None
    measured: Measurement | None = None  # None: it could not be told what it took
    instance: InstanceId | None = None  # whose life this is, if it goes on
    layers: tuple[DeviceId, ...] = ()  # the devices that were measured
    sighted: Measurement | None = None  # what it seems to have taken, where that is not sure


@dataclass(frozen=True, slots=True)
class SavePin:
    model: ModelName
    pinned: bool


@dataclass(frozen=True, slots=True)
class ForgetPin:
    """What the API said about the pin does not count any more: the file has said something new."""

    model: ModelName


Effect = (
    Grant
    | Deny
    | Finish
    | Remember
    | Forget
    | KeepLease
    | DropLease
    | Check
    | Uncheck
    | Load
    | AskUse
    | Evict
    | Learn
    | SavePin
    | ForgetPin
    | Decide
)
