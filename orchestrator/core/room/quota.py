"""How much one API key may hold: a bound of its own, beside that of the devices.

Charged is who caused it: whose wish brought a model, and who leases it. A wish that meets a model
which others brought pays nothing for it; neither does a key pay for one that is on its way out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.placement import layer_devices
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import Placement
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import to_mb

HELD_SAID_MAX = 3  # in the sentence


@dataclass(frozen=True, slots=True)
class Quota:
    """Of one key, at one moment."""

    limit_bytes: int
    held: Mapping[ModelName, int] = field(default_factory=dict)  # charged to it, in bytes
    beside_bytes: int = 0  # charged to other keys that share the bound, and not to it

    @property
    def left_bytes(self) -> int:
        return self.limit_bytes - sum(self.held.values()) - self.beside_bytes


def held_bytes(placement: Placement, ledger: Ledger) -> int:
    """What counts of a placement: VRAM, and host RAM where a model lies in nothing else."""
    return sum(placement.on(device) for device in layer_devices(placement, ledger))


def over_quota(model: ModelName, needed_bytes: int, quota: Quota) -> Refusal:
    """What it holds, so that its holder knows what to let go."""
    largest = sorted(quota.held.items(), key=lambda pair: (-pair[1], pair[0]))
    said = ", ".join(f"{name} ({to_mb(size)} MB)" for name, size in largest[:HELD_SAID_MAX])
    never = needed_bytes > quota.limit_bytes
    return Refusal(
        code=RefusalCode.OVER_QUOTA,
        detail=f"{model} needs {to_mb(needed_bytes)} MB, and of the {to_mb(quota.limit_bytes)} MB "
        f"that this key may hold {to_mb(max(quota.left_bytes, 0))} MB are left; it holds: "
        f"{said or 'nothing'}{_beside(quota)}.",
        remedy="An admin can make a key with more."
        if never
        else "Unload what it holds, or end its leases; an admin can make a key with more.",
        needed_bytes=needed_bytes,
        available_bytes=max(quota.left_bytes, 0),
    )


def _beside(quota: Quota) -> str:
    """Not which models: the other keys' are not for this one to see."""
    if not quota.beside_bytes:
        return ""
    return f", and keys that share its quota {to_mb(quota.beside_bytes)} MB"
