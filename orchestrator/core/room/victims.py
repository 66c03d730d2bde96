"""The least regretted set of residents that frees enough where it is short (R8).

Exact for a dozen candidates, greedy with pruning beyond. No victim leaves that is not needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.values.residents import Resident
from orchestrator.core.values.vram import DeviceId

EXACT_CANDIDATES_MAX = 12

# Bytes that are missing, per device that is short; and networks (`networks.OF_ITS_OWN`).
Shortage = Mapping[DeviceId, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    resident: Resident
    regret: float
    frees: Mapping[DeviceId, int]


def least_regretted_set(
    candidates: Sequence[Candidate], shortage: Shortage
) -> tuple[Candidate, ...] | None:
    """Who should leave, or None if all of them together would not be enough.

    Lowest priority first: a higher one is touched only if all the lower ones do not suffice.
    """
    useful = sorted(
        (
            candidate
            for candidate in candidates
            if any(candidate.frees.get(device) for device in shortage)
        ),
        key=lambda candidate: (
            candidate.resident.priority,
            candidate.regret,
            candidate.resident.name,
        ),
    )
    for priority in sorted({candidate.resident.priority for candidate in useful}):
        allowed = [candidate for candidate in useful if candidate.resident.priority <= priority]
        if _covers(allowed, shortage):
            exact = len(allowed) <= EXACT_CANDIDATES_MAX
            return _exact(allowed, shortage) if exact else _greedy(allowed, shortage)
    return None


def _covers(chosen: Sequence[Candidate], shortage: Shortage) -> bool:
    return all(
        sum(candidate.frees.get(device, 0) for candidate in chosen) >= missing
        for device, missing in shortage.items()
    )


def _exact(allowed: Sequence[Candidate], shortage: Shortage) -> tuple[Candidate, ...]:
    """Branch and bound over subsets; ties go to the set that frees least, then to the names."""
    ordered = sorted(allowed, key=lambda candidate: (candidate.regret, candidate.resident.name))
    devices = tuple(shortage)
    frees = [tuple(candidate.frees.get(device, 0) for device in devices) for candidate in ordered]
    rest = [tuple(0 for _ in devices)]  # what all the candidates from here on would free
    for freed in reversed(frees):
        rest.append(tuple(a + b for a, b in zip(rest[-1], freed, strict=True)))
    rest.reverse()
    best: tuple[float, int, tuple[int, ...]] | None = None

    def explore(
        at: int, missing: tuple[int, ...], regret: float, freed: int, taken: tuple[int, ...]
    ) -> None:
        nonlocal best
        if all(lack <= 0 for lack in missing):
            found = (regret, freed, taken)
            best = found if best is None or found < best else best
            return
        hopeless = any(lack > more for lack, more in zip(missing, rest[at], strict=True))
        if hopeless or (best is not None and regret > best[0]):
            return
        less = tuple(lack - gain for lack, gain in zip(missing, frees[at], strict=True))
        explore(at + 1, less, regret + ordered[at].regret, freed + sum(frees[at]), (*taken, at))
        explore(at + 1, missing, regret, freed, taken)

    explore(0, tuple(shortage.values()), 0.0, 0, ())
    assert best is not None, "asked only when all of them together suffice"
    return tuple(ordered[index] for index in best[2])


def _greedy(allowed: Sequence[Candidate], shortage: Shortage) -> tuple[Candidate, ...]:
    """Cheapest regret per byte first; then drop victims that turn out not to be needed."""

    def price(candidate: Candidate) -> tuple[float, str]:
        useful = sum(min(candidate.frees.get(device, 0), lack) for device, lack in shortage.items())
        return (candidate.regret / max(useful, 1), candidate.resident.name)

    missing = dict(shortage)
    chosen: list[Candidate] = []
    for candidate in sorted(allowed, key=price):
        if all(lack <= 0 for lack in missing.values()):
            break
        if any(missing[device] > 0 and candidate.frees.get(device, 0) for device in missing):
            chosen.append(candidate)
            for device in missing:
                missing[device] -= candidate.frees.get(device, 0)
    for candidate in sorted(
        chosen, key=lambda candidate: (-candidate.regret, candidate.resident.name)
    ):
        without = [other for other in chosen if other is not candidate]
        if _covers(without, shortage):
            chosen = without
    return tuple(chosen)
