"""The answer of an estimate: bytes per device and on the host, and how it was found."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MIB = 1 << 20


class Method(StrEnum):
    HEADER = "header"  # computed from the file's header
    DRY_RUN = "dry_run"  # answered by the engine's own planner


@dataclass(frozen=True, slots=True)
class Share:
    """What is occupied in one place; `overhead_bytes` is in no plan of the engine."""

    weights_bytes: int = 0
    context_bytes: int = 0
    compute_bytes: int = 0
    overhead_bytes: int = 0

    def __add__(self, other: "Share") -> "Share":
        return Share(
            self.weights_bytes + other.weights_bytes,
            self.context_bytes + other.context_bytes,
            self.compute_bytes + other.compute_bytes,
            self.overhead_bytes + other.overhead_bytes,
        )

    @property
    def planned_bytes(self) -> int:
        return self.weights_bytes + self.context_bytes + self.compute_bytes

    @property
    def total_bytes(self) -> int:
        return self.planned_bytes + self.overhead_bytes

    def in_mib(self) -> dict[str, float]:
        return {
            "weights_mib": mib(self.weights_bytes),
            "context_mib": mib(self.context_bytes),
            "compute_mib": mib(self.compute_bytes),
            "device_mib": mib(self.planned_bytes),
            "overhead_mib": mib(self.overhead_bytes),
        }


Json = float | str | list[str] | list[dict[str, float]] | dict[str, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One share per GPU, in the order of `tensor_split`; `doubts` are sentences."""

    architecture: str
    method: Method
    devices: tuple[Share, ...]
    host: Share
    doubts: tuple[str, ...] = ()

    @property
    def on_devices(self) -> Share:
        return sum(self.devices, start=Share())

    def to_json(self) -> Mapping[str, Json]:
        """Floats in MiB: the sums over all GPUs at the top, then GPU by GPU, then the host's."""
        host = self.host.in_mib()
        return {
            **self.on_devices.in_mib(),
            "host_mib": host["device_mib"],
            "architecture": self.architecture,
            "method": self.method.value,
            "devices": [share.in_mib() for share in self.devices],
            "host": {key: host[key] for key in ("weights_mib", "context_mib", "compute_mib")},
            "doubts": list(self.doubts),
        }


def mib(count: int) -> float:
    """Rounded to what a reader can use: ten bytes."""
    return round(count / MIB, 5)
