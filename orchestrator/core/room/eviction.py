"""Who may leave, and who should leave first. A policy is an ordering and nothing more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.core.values.residents import Resident, ResidentState
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName

# A model used once may come again at any time: until a gap has been seen, assume five minutes.
USE_GAP_S_UNKNOWN = 300.0
USE_GAP_S_MIN = 0.5
STUBBORN_S = 120.0  # a resident that drained in vain for a newcomer is not asked again sooner

Policy = Callable[[Resident, float], float]


def least_recently_used(resident: Resident, now_s: float) -> float:
    """Lower leaves first: the resident that has been idle longest."""
    return resident.last_used_s - now_s


def least_regretted(resident: Resident, now_s: float) -> float:
    """Likelihood of being wanted again times the seconds to bring it back (R8).

    The likelihood is the hazard of the mean gap between uses, fading with the idle time.
    """
    idle_s = max(0.0, now_s - resident.last_used_s)
    gap_s = resident.use_gap_s
    if gap_s is None:  # used once: for how long it has been idle is all that is known
        gap_s = USE_GAP_S_UNKNOWN if resident.use_began_s is None else 0.0
    return max(resident.spec.load_s, 0.1) / max(gap_s, idle_s, USE_GAP_S_MIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgency:
    """How much a wish may ask of those in its way."""

    priority: int
    due: bool = False  # it has waited as long as a wish must
    wisher: ModelName | None = None  # the model that is wanted


class Yielding(StrEnum):
    NOW = "now"
    AFTER_DRAIN = "after_drain"
    NO = "no"
    NEVER = "never"  # waiting will not change it


class Stance(StrEnum):
    """What a resident answers to a wish that wants its room."""

    PINNED = "it is pinned"
    UNSETTLED = "it is on its way in or out"
    UNREACHABLE = "its runtime does not answer"
    STUBBORN = "it did not fall idle within the drain time"
    LEASED_ROOM = "its VRAM is leased"
    MORE_IMPORTANT = "its priority is higher"
    JUST_ARRIVED = "it has just arrived"
    IDLE = "it is idle"
    LESS_IMPORTANT = "its priority is lower"
    OUTWAITED = "somebody has waited long enough"
    IN_USE = "it is in use"


YIELDS: Mapping[Stance, Yielding] = {
    Stance.PINNED: Yielding.NEVER,
    Stance.IDLE: Yielding.NOW,
    Stance.LESS_IMPORTANT: Yielding.AFTER_DRAIN,
    Stance.OUTWAITED: Yielding.AFTER_DRAIN,
    **dict.fromkeys(
        (
            Stance.UNSETTLED,
            Stance.UNREACHABLE,
            Stance.STUBBORN,
            Stance.LEASED_ROOM,
            Stance.MORE_IMPORTANT,
            Stance.JUST_ARRIVED,
            Stance.IN_USE,
        ),
        Yielding.NO,
    ),
}


def stance(
    resident: Resident,
    urgency: Urgency,
    rules: Rules,
    now_s: float,
    *,
    pinned: bool,
    silent: bool = False,
) -> Stance:
    """Whether `resident` gives way to a wish of that urgency, and why (R5, R6, R7)."""
    if pinned:
        return Stance.PINNED
    if not resident.movable:
        return Stance.UNSETTLED
    if silent:
        return Stance.UNREACHABLE
    if urgency.wisher is not None and resident.resists(urgency.wisher, now_s):
        return Stance.STUBBORN
    if resident.spec.plain_room:
        return Stance.LEASED_ROOM
    in_use = resident.in_use
    if resident.unasked and not in_use:
        return Stance.IDLE  # nobody would miss it: it is protected against nobody
    if urgency.priority < resident.priority and (
        in_use or now_s - resident.last_used_s < rules.protect_idle_s
    ):
        return Stance.MORE_IMPORTANT
    if urgency.priority <= resident.priority and now_s < resident.settled_until_s:
        return Stance.JUST_ARRIVED
    if not in_use:
        return Stance.IDLE
    if urgency.priority > resident.priority:
        return Stance.LESS_IMPORTANT
    return Stance.OUTWAITED if urgency.due else Stance.IN_USE


def say(taken: Stance, resident: Resident, now_s: float) -> str:
    """The stance as a sentence's end, with its numbers (R17)."""
    idle_s = max(0.0, now_s - resident.last_used_s)
    match taken:
        case Stance.UNSETTLED:
            return f"it is {resident.state}"
        case Stance.MORE_IMPORTANT:
            used = "in use" if resident.in_use else f"idle for only {idle_s:.0f} s"
            return f"its priority {resident.priority} is higher and it is {used}"
        case Stance.JUST_ARRIVED:
            left_s = resident.settled_until_s - now_s
            return f"it has just arrived and keeps its place for {left_s:.0f} s"
        case Stance.IDLE if resident.state is ResidentState.LOADING:
            return "it came by itself, and no caller waits for it"
        case Stance.IDLE:
            return f"it has been idle for {idle_s:.0f} s"
        case Stance.LESS_IMPORTANT:
            return f"its priority {resident.priority} is lower"
        case _:
            return str(taken)
