"""How many bytes a model needs per kind of device, and how we know."""

from dataclasses import dataclass
from enum import StrEnum


class Provenance(StrEnum):
    """Ordered by trust: a measured footprint is never replaced by a worse guess."""

    DECLARED = "declared"
    ESTIMATED = "estimated"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """`device_bytes` go where the layers go; `host_bytes` stay in host RAM beside them.

    A model that is placed on the host itself takes both there.
    """

    device_bytes: int
    host_bytes: int = 0
    provenance: Provenance = Provenance.DECLARED

    @property
    def total_bytes(self) -> int:
        return self.device_bytes + self.host_bytes


OOM_GROWTH = 1.25  # after an out-of-memory of unknown size; vendors' own retries use 1.2 to 1.5
OOM_GROWTH_BYTES_MIN = 256 << 20  # a small model that ran out lacked a context, not a percentage


def after_out_of_memory(footprint: Footprint, missing_bytes: int | None) -> Footprint:
    """What to reserve next time for a model that has just run out of memory."""
    grown = missing_bytes or max(
        int(footprint.device_bytes * (OOM_GROWTH - 1)), OOM_GROWTH_BYTES_MIN
    )
    return Footprint(
        device_bytes=footprint.device_bytes + grown,
        host_bytes=footprint.host_bytes,
        provenance=footprint.provenance,
    )
