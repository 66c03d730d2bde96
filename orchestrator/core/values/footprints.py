"""How many bytes a model needs per kind of device, and how we know."""

from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.core.values.vram import DeviceKind


class Provenance(StrEnum):
    """Ordered by trust: a measured footprint is never replaced by a worse guess."""

    UNKNOWN = "unknown"  # its file is on a hub, and has not been looked at yet
    DECLARED = "declared"
    ESTIMATED = "estimated"
    UNCERTAIN = "uncertain"  # seen once, by a driver that does not tell whose bytes they are
    RAISED = "raised"  # it ran out of memory with what was believed: a guess of what it needs
    MEASURED = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """`device_bytes` go where the layers go; `host_bytes` stay in host RAM beside them.

    A model that is placed on the host itself takes both there, unless it is known what it takes
    without a GPU: no driver's part, and other buffers.
    """

    device_bytes: int
    host_bytes: int = 0
    further_device_bytes: int = 0  # what each device beyond the first costs on top
    host_only_bytes: int | None = None  # on a host without a GPU, all in all; None: the sum
    provenance: Provenance = Provenance.DECLARED
    raised_bytes: int = 0  # how much of it is there because it ran out of memory
    raised_in_use: bool = False  # it did while it served: then that is not only for its load

    @property
    def unknown(self) -> bool:
        return self.provenance is Provenance.UNKNOWN

    @property
    def total_bytes(self) -> int:
        return self.device_bytes + self.host_bytes

    @property
    def without_gpu_bytes(self) -> int:
        return self.total_bytes if self.host_only_bytes is None else self.host_only_bytes

    def layer_bytes(self, kind: DeviceKind) -> int:
        """What it takes of the memory that its layers lie in, if that is of such a kind."""
        match kind:
            case DeviceKind.HOST:
                return self.without_gpu_bytes
            case DeviceKind.UNIFIED:
                return self.total_bytes  # one memory for everything
            case DeviceKind.GPU:
                return self.device_bytes

    def spread_bytes(self, devices: int) -> int:
        """What all of so many GPUs hold together."""
        return self.device_bytes + self.further_device_bytes * (devices - 1)

    def grown(self, by_bytes: int) -> "Footprint":
        """More of the memory that the layers lie in, wherever that is; less, if below zero."""
        alone = self.host_only_bytes
        return replace(
            self,
            device_bytes=max(self.device_bytes + by_bytes, 0),
            host_only_bytes=None if alone is None else max(alone + by_bytes, 0),
        )

    def raised(self, by_bytes: int, *, in_use: bool = False) -> "Footprint":
        """More, because it ran out of memory: no longer what it was, whatever that was."""
        if by_bytes <= 0:
            return self
        return replace(
            self.grown(by_bytes),
            provenance=Provenance.RAISED,
            raised_bytes=self.raised_bytes + by_bytes,
            raised_in_use=self.raised_in_use or in_use,
        )

    def at_least(self, other: "Footprint") -> "Footprint":
        """The larger of both, in every respect."""
        return replace(
            self,
            device_bytes=max(self.device_bytes, other.device_bytes),
            host_bytes=max(self.host_bytes, other.host_bytes),
            further_device_bytes=max(self.further_device_bytes, other.further_device_bytes),
            host_only_bytes=max(self.without_gpu_bytes, other.without_gpu_bytes),
        )

    def moved(self, base: "Footprint", taken: "Footprint") -> "Footprint":
        """What is believed of some settings, moved by what is foretold of others against them."""
        alone = self.host_only_bytes
        if alone is not None:
            alone = max(alone + taken.without_gpu_bytes - base.without_gpu_bytes, 0)
        return replace(
            self,
            device_bytes=max(self.device_bytes + taken.device_bytes - base.device_bytes, 0),
            host_bytes=max(self.host_bytes + taken.host_bytes - base.host_bytes, 0),
            host_only_bytes=alone,
        )

    def saves_on(self, other: "Footprint") -> bool:
        """On a GPU or on a host without one; and nowhere does it cost more."""
        now = self.device_bytes, self.without_gpu_bytes
        before = other.device_bytes, other.without_gpu_bytes
        return now != before and all(a <= b for a, b in zip(now, before, strict=True))


UNKNOWN = Footprint(device_bytes=0, provenance=Provenance.UNKNOWN)
