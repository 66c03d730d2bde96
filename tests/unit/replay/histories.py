"""Histories, as values and as `orchestrator events --export` writes them, for what replays them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.replay.trace import Demand, VirtualDevice

BEGAN = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


def instant(after_s: float) -> str:
    return (BEGAN + timedelta(seconds=after_s)).isoformat().replace("+00:00", "Z")


def machine(total_mb: int = 24576, **more: Any) -> dict[str, Any]:
    device: dict[str, Any] = {
        "id": "g0",
        "name": "Card",
        "kind": "gpu",
        "total_mb": total_mb,
        "foreign_mb": 0,
    }
    device |= {"headroom_mb": 0, "available_mb": total_mb, "charged_mb": 0} | more
    return {"type": "machine", "format": 1, "not_kept": 0, "devices": [device]}


def model(name: str, vram_mb: int = 14000, load_s: float = 10.0, **more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "type": "model",
        "id": name,
        "aliases": [],
        "vram_mb": vram_mb,
        "host_mb": 0,
    }
    said |= {"load_seconds": load_s, "priority": 5, "ttl_seconds": None, "pinned": False}
    return said | {"keep_loaded": False, "devices": []} | more


def request(at_s: float, name: str, total_s: float = 1.0, **more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "type": "request",
        "began_at": instant(at_s),
        "asked": name,
        "model": name,
    }
    said |= {"total_seconds": total_s, "wait_seconds": 0.0, "load_seconds": 0.0}
    return said | {"priority": None, "outcome": "answered"} | more


def decision(at_s: float, kind: str, name: str) -> dict[str, Any]:
    return {"type": "decision", "at": instant(at_s), "kind": kind, "model": name}


def text(*lines: dict[str, Any]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def turns(count: int = 6, apart_s: float = 60.0) -> str:
    """Two models that do not fit beside each other, asked for in turns."""
    asked = [request(number * apart_s, "ab"[number % 2]) for number in range(count)]
    return text(machine(), model("a"), model("b"), *asked)


# --- as values ------------------------------------------------------------

CARD = VirtualDevice(id=DeviceId("g0"), name="Card", total_bytes=24 * GiB)


def spec(name: str, size_gib: float = 14, load_s: float = 10.0, **more: Any) -> ModelSpec:
    footprint = Footprint(device_bytes=int(size_gib * GiB))
    return ModelSpec(
        name=ModelName(name), service=ServiceName("s"), footprint=footprint, load_s=load_s, **more
    )


def demand(at_s: float, name: str, serves_s: float = 1.0, **more: Any) -> Demand:
    return Demand(at_s=at_s, model=ModelName(name), serves_s=serves_s, **more)
