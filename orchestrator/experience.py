"""What loads have shown: kept per model, settings, server version and type of device.

Whatever was measured is believed before any guess; settings that never ran profit from those of
the same model that did.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from orchestrator.core.footprints import Footprint, Provenance
from orchestrator.core.measurements import (
    Measurement,
    corrected_bytes,
    drift_bytes,
    learned_bytes,
    with_newest,
)
from orchestrator.core.messages import Decide, DecisionKind, Learn
from orchestrator.core.residents import InstanceId
from orchestrator.core.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.vram import Device, DeviceId, DeviceKind, to_mb
from orchestrator.ports import LearnedRecord

GROWN_BYTES_MIN = 64 << 20  # a peak that is higher by less than this teaches nothing new


def fingerprint(spec: ModelSpec, version: str = "", device_type: str = "") -> str:
    """The same for all specs of a model that would occupy the same bytes there."""
    said = {
        "service": spec.service,
        "file": spec.file,
        "mmproj": spec.mmproj,
        "lora": spec.lora,
        "serving": asdict(spec.serving),
        "fake": asdict(spec.fake) if spec.fake else None,
        "span": spec.span,
        "version": version,
        "device_type": device_type,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Life:
    """A life that goes on: its peak may still rise."""

    effect: Learn
    settings: str


class Experience:
    def __init__(
        self,
        records: Iterable[LearnedRecord] = (),
        *,
        versions: Mapping[ServiceName, str] | None = None,
        devices: Callable[[], Iterable[Device]] = tuple,
    ) -> None:
        """`versions` of the servers behind the services; `devices` that there are now."""
        self._records: defaultdict[ModelName, dict[str, LearnedRecord]] = defaultdict(dict)
        for record in records:
            self._records[record.model][record.settings] = record
        self._versions = versions or {}
        self._devices = devices
        self._lives: dict[InstanceId, _Life] = {}

    def records(self, model: ModelName) -> tuple[LearnedRecord, ...]:
        return tuple(self._records.get(model, {}).values())

    def believed(self, spec: ModelSpec) -> ModelSpec:
        """What was measured replaces what was declared or estimated, and corrects what was not."""
        of_model = self._records.get(spec.name)
        if of_model is None:
            return spec
        found = [
            record
            for device_type in self._types(spec)
            if (record := of_model.get(self._settings(spec, device_type)))
        ]
        if not found:
            return self._corrected(spec)
        most = max(found, key=lambda record: record.footprint.total_bytes)
        return replace(
            spec,
            footprint=most.footprint,
            predicted=spec.footprint,
            load_s=most.load_s or spec.load_s,
        )

    def learn(self, effect: Learn, at: datetime) -> tuple[LearnedRecord, Decide | None]:
        """The record to be kept, and what is worth saying about it."""
        types = {device.id: device.name for device in self._devices()}
        device_type = types.get(effect.placement.devices[0], "")
        settings = self._settings(effect.spec, device_type)
        before = self._records[effect.model].get(settings)
        measured = before.measurements if before is not None else ()
        said = None
        if effect.measured is not None:
            said = _drift(effect.model, measured, effect.measured)
            measured = with_newest(measured, effect.measured)
            if effect.instance is not None:
                self._lives[effect.instance] = _Life(effect, settings)
        record = LearnedRecord(
            model=effect.model,
            settings=settings,
            footprint=_footprint(effect, measured),
            load_s=before.load_s if effect.load_s is None and before else effect.load_s,
            measured_at=at,
            context=_context(effect.spec, self._versions, device_type),
            measurements=measured,
        )
        self._records[effect.model][settings] = record
        return record, said

    def end(
        self, instance: InstanceId, peak: Mapping[DeviceId, int] | None, at: datetime
    ) -> LearnedRecord | None:
        """A life is over. If it held more at last than when it was ready, that is what counts."""
        life = self._lives.pop(instance, None)
        if life is None or life.effect.measured is None or not peak:
            return None
        effect, newest = life.effect, life.effect.measured
        highest = len(effect.layers) * max(peak.get(device, 0) for device in effect.layers)
        if highest < newest.peak_bytes + GROWN_BYTES_MIN:
            return None
        record = self._records[effect.model][life.settings]
        grown = replace(newest, peak_bytes=highest)
        measured = tuple(grown if each is newest else each for each in record.measurements)
        alone = effect.layers == effect.placement.devices
        footprint = Footprint(
            device_bytes=learned_bytes(measured),
            host_bytes=0 if alone else record.footprint.host_bytes,
            provenance=Provenance.MEASURED,
        )
        kept = replace(record, footprint=footprint, measurements=measured, measured_at=at)
        self._records[effect.model][life.settings] = kept
        return kept

    def _types(self, spec: ModelSpec) -> set[str]:
        """The types of devices that the spec's layers may lie on."""
        devices = list(self._devices())
        hosts = {device.name for device in devices if device.kind is DeviceKind.HOST}
        others = {device.name for device in devices} - hosts
        on_host = spec.serving.gpu_layers == 0 or not others
        return ((hosts or others) if on_host else others) or {""}

    def _settings(self, spec: ModelSpec, device_type: str) -> str:
        return fingerprint(spec, self._versions.get(spec.service, ""), device_type)

    def _corrected(self, spec: ModelSpec) -> ModelSpec:
        """By the residual of the same model under other settings; only of one guess on another."""
        if spec.footprint.provenance is not Provenance.ESTIMATED:
            return spec
        contexts = {_context(spec, self._versions, each) for each in self._types(spec)}
        others = [
            measurement
            for record in self.records(spec.name)
            if record.context in contexts
            for measurement in record.measurements
        ]
        if not others:
            return spec
        grown = corrected_bytes(spec.footprint.device_bytes, others) - spec.footprint.device_bytes
        return replace(spec, footprint=spec.footprint.grown(grown), predicted=spec.footprint)


def _context(spec: ModelSpec, versions: Mapping[ServiceName, str], device_type: str) -> str:
    """What a residual holds for: the same files, server and type of device."""
    said = (spec.service, spec.file, spec.mmproj, spec.lora, versions.get(spec.service, ""))
    return hashlib.sha256(repr((*said, device_type)).encode()).hexdigest()[:16]


def _footprint(effect: Learn, measured: tuple[Measurement, ...]) -> Footprint:
    if effect.measured is None or effect.footprint.provenance is not Provenance.MEASURED:
        return effect.footprint
    return replace(
        effect.footprint,
        device_bytes=learned_bytes(measured),
        host_bytes=max(each.host_bytes for each in measured),
    )


def _drift(model: ModelName, before: tuple[Measurement, ...], newest: Measurement) -> Decide | None:
    distance = drift_bytes(before, newest)
    if not distance:
        return None
    more = "more" if distance > 0 else "less"
    return Decide(
        kind=DecisionKind.LEARN,
        model=model,
        text=f"{model} took {to_mb(newest.peak_bytes)} MB, {to_mb(abs(distance))} MB {more} than "
        f"the loads before it under the same settings (predicted: "
        f"{to_mb(newest.predicted_bytes)} MB).",
        why="the residual drifted",
        remedy="Has the file, the driver or the server changed? The next loads are promised what "
        "nineteen of the last twenty took at most.",
    )
