"""The section `devices`: what holds bytes, and how much of it may be used."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Discriminator, Field, Tag

from orchestrator.config.scalars import MB_MAX, STRICT, Mb, Seconds, Text
from orchestrator.core.values.vram import DeviceId, DeviceKind, MiB


class DeviceSource(StrEnum):
    AUTO = "auto"
    NVML = "nvml"
    HOST = "host"
    FAKE = "fake"


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeDeviceEntry:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Text
    total_mb: Annotated[int, Field(ge=1, le=MB_MAX)]
    release_lag_s: Seconds = 0.5
    """How long the bytes of a dead process are still counted."""
    processes_visible: bool = True
    """false: as in a container that does not see the host's processes."""
    kind: DeviceKind = DeviceKind.GPU


def _one_or_each(budget: object) -> str:
    return "each" if isinstance(budget, dict) else "all"


Budget = Annotated[
    Annotated[Mb, Tag("all")] | Annotated[dict[str, Mb], Tag("each")],
    Discriminator(_one_or_each),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    source: DeviceSource = DeviceSource.AUTO
    """auto: NVML if its driver answers, else the host's RAM."""
    headroom_mb: Mb = 512
    """Bytes of every device that are never planned on."""
    budget_mb: Budget | None = None
    """Never use more of a device than this: one number, or one for each device id or name."""
    sample_interval_s: Annotated[float, Field(ge=0.05, le=60)] = 0.5
    """How often the devices are read."""
    fake: tuple[FakeDeviceEntry, ...] = ()
    """The pretended devices of `source: fake`; their ids are fake-0, fake-1, ..."""

    def budget_bytes(self, device: DeviceId, name: str) -> int | None:
        """The most that may be used of the device; None: all of it."""
        budget = self.budget_mb
        if isinstance(budget, dict):
            budget = budget.get(device, budget.get(name))
        return None if budget is None else budget * MiB
