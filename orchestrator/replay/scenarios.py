"""The same history on another machine, or by another rule: what differs, and how it is played."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.core.values.specs import ModelSpec
from orchestrator.core.values.vram import DeviceId, DeviceKind, GiB, MiB
from orchestrator.replay.policies import POLICIES, PolicyName, RealScheduler, specs_for
from orchestrator.replay.trace import Tally, Trace, VirtualDevice
from orchestrator.replay.virtual_machine import VirtualMachine

# As cards are named: a card of 24 GB has 24 GiB.
UNITS = {"gb": GiB, "gib": GiB, "g": GiB, "mb": MiB, "mib": MiB, "m": MiB}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
DEVICES_MAX = 64
KINDS = {*DeviceKind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    title: str
    devices: tuple[VirtualDevice, ...]
    policy: PolicyName = PolicyName.REGRET
    other_devices: bool = False  # than those that models name


def sizes(text: str) -> tuple[int, ...]:
    """`24GB+24GB` in bytes. Raise ValueError with a sentence."""
    found = []
    for part in text.split("+"):
        matched = SIZE.fullmatch(part.strip())
        unit = UNITS.get(matched[2].lower()) if matched else None
        if matched is None or unit is None or float(matched[1]) == 0:
            raise ValueError(f"{text!r} is no size such as 48GB, 8192MB or 24GB+24GB")
        found.append(int(float(matched[1]) * unit))
    if len(found) > DEVICES_MAX:
        raise ValueError(f"{text!r} names more than {DEVICES_MAX} devices")
    return tuple(found)


def said_size(size_bytes: int) -> str:
    """`24 GB`, or in MB where that is not a whole number of them."""
    return f"{size_bytes / GiB:g} GB" if size_bytes % (GiB // 4) == 0 else f"{size_bytes // MiB} MB"


def on_budget(trace: Trace, wanted: Sequence[int]) -> tuple[VirtualDevice, ...]:
    """Devices of these sizes, empty, in place of those that models are loaded on."""
    kind = _layer_kind(trace.devices)
    others = tuple(device for device in trace.devices if device.kind is not kind)
    return (*_devices(kind, wanted), *others)


def with_another(trace: Trace, wanted: Sequence[int]) -> tuple[VirtualDevice, ...]:
    """Further devices beside those that there were."""
    return (*trace.devices, *_devices(_layer_kind(trace.devices), wanted))


def usual_size(trace: Trace) -> int:
    """Of the largest device that models are loaded on."""
    kind = _layer_kind(trace.devices)
    return max(device.total_bytes for device in trace.devices if device.kind is kind)


def played(trace: Trace, scenario: Scenario) -> Tally:
    devices, policy = scenario.devices, scenario.policy
    models = dict(trace.models)
    if scenario.other_devices:
        models = {name: _anywhere(spec) for name, spec in models.items()}
    specs = specs_for(models, policy, devices, trace.headroom_bytes)
    scheduler = RealScheduler(specs, headroom_bytes=trace.headroom_bytes, policy=POLICIES[policy])
    return VirtualMachine(devices, scheduler, specs).live(trace.demands)


def _layer_kind(devices: Sequence[VirtualDevice]) -> DeviceKind:
    """Where layers go: to accelerators, or to the host where there are none."""
    kinds = {device.kind for device in devices}
    return next(
        kind for kind in (DeviceKind.GPU, DeviceKind.UNIFIED, DeviceKind.HOST) if kind in kinds
    )


def _devices(kind: DeviceKind, wanted: Sequence[int]) -> tuple[VirtualDevice, ...]:
    return tuple(
        VirtualDevice(
            id=DeviceId(f"new-{number}"), name=said_size(size), kind=kind, total_bytes=size
        )
        for number, size in enumerate(wanted)
    )


def _anywhere(spec: ModelSpec) -> ModelSpec:
    """Without the names of devices that are not there any more; kinds of devices are."""
    return replace(spec, devices=tuple(name for name in spec.devices if name in KINDS))
