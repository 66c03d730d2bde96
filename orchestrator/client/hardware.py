"""What computes here, told from files that drivers leave: nothing is started or asked."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

JETSON = "etc/nv_tegra_release"  # also on Jetsons whose driver makes no /dev/nvidia0
BOARD = "proc/device-tree/model"
GPUS = ("dev/nvidia[0-9]*", "dev/kfd")  # NVIDIA's; AMD's, for ROCm


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    is_jetson: bool
    has_gpu: bool


def hardware_found(root: Path = Path("/"), programs: str | None = None) -> Hardware:
    """`programs` is a PATH to look for NVIDIA's tool in; None: that of this process."""
    is_jetson = (root / JETSON).exists() or "jetson" in _text(root / BOARD).lower()
    devices = any(next(root.glob(pattern), None) for pattern in GPUS)
    # Under WSL2 the driver's tool is there, and no device file.
    tool = shutil.which("nvidia-smi", path=programs) is not None
    return Hardware(is_jetson=is_jetson, has_gpu=is_jetson or devices or tool)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
