"""The least that loads can take, if all that will be asked is known: an exact bound, no heuristic.

Requests come one after another, so a policy chooses only who leaves at each load. Every set of
models that fits is a state, and the cheapest way to each is kept, request by request. Keeping more
is never worse, so that only sets to which no model could be added are looked at.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from orchestrator.core.values.specs import ModelName, ModelSpec

Resident = frozenset[ModelName]


def least_reload_s(
    asked: Sequence[ModelName], models: Mapping[ModelName, ModelSpec], room_bytes: int
) -> float:
    """The seconds of loading on one device that starts empty. Every model must fit on it."""
    cheapest: dict[Resident, float] = {frozenset(): 0.0}
    for wanted in asked:
        following: dict[Resident, float] = {}
        for resident, spent_s in cheapest.items():
            if wanted in resident:
                choices, cost_s = [resident], spent_s
            else:
                left_bytes = room_bytes - models[wanted].footprint.device_bytes
                choices = [kept | {wanted} for kept in _fullest(resident, models, left_bytes)]
                cost_s = spent_s + models[wanted].load_s
            for chosen in choices:
                if cost_s < following.get(chosen, float("inf")):
                    following[chosen] = cost_s
        cheapest = _undominated(following)
    return min(cheapest.values())


def _fullest(
    resident: Resident, models: Mapping[ModelName, ModelSpec], left_bytes: int
) -> list[Resident]:
    """The subsets that fit and to which no other of the resident models could be added."""
    found: list[Resident] = []
    for count in range(len(resident), -1, -1):
        for few in combinations(sorted(resident), count):
            kept = frozenset(few)
            size_bytes = sum(models[name].footprint.device_bytes for name in few)
            if size_bytes <= left_bytes and not any(kept < larger for larger in found):
                found.append(kept)
    return found


def _undominated(states: Mapping[Resident, float]) -> dict[Resident, float]:
    """Without those that hold no more than another one, and cost no less."""
    kept: dict[Resident, float] = {}
    for resident, cost_s in sorted(states.items(), key=lambda pair: (pair[1], -len(pair[0]))):
        if not any(resident <= other for other in kept):
            kept[resident] = cost_s
    return kept
