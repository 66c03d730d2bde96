"""What loads have shown: kept per model, settings, server version and type of device.

A measurement is believed before any guess. Settings that never ran are corrected by what other
settings of the same model took.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from orchestrator.core.learning.beliefs import (
    after_failures,
    after_loads,
    after_other_settings,
    most_raised,
)
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.measurements import Measurement, Raised, drift_bytes, with_newest
from orchestrator.core.values.messages import Learn
from orchestrator.core.values.residents import InstanceId, Placement, Resident
from orchestrator.core.values.specs import ModelName, ModelSpec, ModelSpecs, ServiceName
from orchestrator.core.values.vram import Device, DeviceId, DeviceKind, to_mb
from orchestrator.records import LearnedRecord

GROWN_BYTES_MIN = 64 << 20  # a peak that is higher by less than this teaches nothing new
LEARNED = frozenset({Provenance.MEASURED, Provenance.RAISED})


def fingerprint(spec: ModelSpec, version: str = "", device_type: str = "") -> str:
    """The same for all specs of a model that would occupy the same bytes there."""
    said = {
        "service": spec.service,
        "file": spec.file,
        "mmproj": spec.mmproj,
        "lora": spec.lora,
        "serving": _serving(spec),
        "fake": asdict(spec.fake) if spec.fake else None,
        "span": spec.span,
        "version": version,
        "device_type": device_type,
        **({"program": asdict(spec.program)} if spec.program else {}),  # else as ever
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _serving(spec: ModelSpec) -> dict[str, object]:
    """Without what is not said, so that what was learned before there was such a key is kept."""
    said: dict[str, object] = asdict(spec.serving)
    if not spec.serving.extra_args:
        del said["extra_args"]
    return said


@dataclass(frozen=True, slots=True)
class _View:
    """What is believed of a whole catalogue, good until that or its grounds change."""

    specs: ModelSpecs
    grounds: object  # the types of devices, the versions of the servers
    believed: ModelSpecs


@dataclass(frozen=True, slots=True)
class _Life:
    """A resident whose load was measured: its peak may still rise."""

    model: ModelName
    settings: str
    layers: tuple[DeviceId, ...]
    measured: Measurement


class Experience:
    def __init__(
        self,
        records: Iterable[LearnedRecord] = (),
        *,
        versions: Mapping[ServiceName, str] | None = None,
        devices: Callable[[], Iterable[Device]] = tuple,
    ) -> None:
        """`versions`: of the servers behind the services. `devices`: those there are now."""
        self._records: defaultdict[ModelName, dict[str, LearnedRecord]] = defaultdict(dict)
        for record in records:
            self._records[record.model][record.settings] = record
        self._versions = {} if versions is None else versions  # a mapping that changes
        self._devices = devices
        self._lives: dict[InstanceId, _Life] = {}
        self._view = _View({}, None, {})
        self._taught: set[ModelName] = set()  # since the view was made

    def records(self, model: ModelName) -> tuple[LearnedRecord, ...]:
        return tuple(self._records.get(model, {}).values())

    def believed(self, spec: ModelSpec) -> ModelSpec:
        """The model with the footprint that is believed under its settings.

        What was measured under them replaces what was declared or estimated; what was measured
        under others corrects it. A load that could not be measured tells only how long it took.
        """
        if not self._records.get(spec.name):
            return spec
        found, beliefs = [], []
        for device_type, kind in self._types(spec).items():
            record = self._records[spec.name].get(self._settings(spec, device_type))
            others = self._under_other_settings(spec, device_type)
            predicted = after_other_settings(spec.footprint, others, kind)
            if record is None:
                beliefs.append(predicted)
                continue
            found.append(record)
            known = after_loads(spec.footprint, record.measurements, kind)
            if not record.measurements:
                known = predicted
            beliefs.append(after_failures(known, record.raised, spec.footprint, kind))
        learned = [belief for belief in beliefs if belief.provenance in LEARNED] or beliefs
        footprint = max(learned, key=lambda belief: belief.total_bytes)
        load_s = next((record.load_s for record in found if record.load_s), None)
        return replace(
            spec,
            footprint=footprint,
            predicted=None if footprint == spec.footprint else spec.footprint,
            sighted=next((record.sighted for record in found if record.sighted), None),
            load_s=spec.load_s if load_s is None else load_s,
            load_known=spec.load_known or load_s is not None,
        )

    def shown(self, specs: ModelSpecs) -> ModelSpecs:
        """What is believed of all, for callers that ask often.

        The same mapping, and in it the same spec of a model, until something of it changes.
        """
        grounds = (tuple(device.name for device in self._devices()), tuple(self._versions.items()))
        view = self._view
        is_same = view.grounds == grounds
        if view.specs is not specs or self._taught or not is_same:
            believed = {
                name: view.believed[name]
                if is_same and view.specs.get(name) is spec and name not in self._taught
                else self.believed(spec)
                for name, spec in specs.items()
            }
            self._taught.clear()
            view = self._view = _View(specs, grounds, believed)
        return view.believed

    def learn(self, effect: Learn, at: datetime) -> tuple[LearnedRecord, Decide | None]:
        """The record to be kept, and what is worth saying about it."""
        device_type, kind = self._where(effect.placement)
        settings = self._settings(effect.spec, device_type)
        before = self._records[effect.model].get(settings)
        measured = before.measurements if before is not None else ()
        sighted = effect.sighted or (before.sighted if before is not None else None)
        prediction = effect.spec.predicted or effect.spec.footprint
        said = None
        if effect.measured is not None:
            said = _drift(effect.model, measured, effect.measured, kind)
            measured, sighted = with_newest(measured, effect.measured), None
            if effect.instance is not None:
                self._lives[effect.instance] = _Life(
                    effect.model, settings, effect.layers, effect.measured
                )
        record = LearnedRecord(
            model=effect.model,
            settings=settings,
            footprint=after_loads(prediction, measured, kind),
            load_s=before.load_s if effect.load_s is None and before else effect.load_s,
            measured_at=at,
            context=_context(effect.spec, self._versions, device_type),
            measurements=measured,
            raised=_raised(before, effect.footprint, prediction, kind),
            sighted=sighted,
        )
        self._keep(record)
        return record, said

    def resume(self, resident: Resident) -> None:
        """A resident outlived the daemon: its peak still counts."""
        device_type, _ = self._where(resident.placement)
        settings = self._settings(resident.spec, device_type)
        record = self._records.get(resident.name, {}).get(settings)
        if record is None or not record.measurements:
            return
        gpus = {device.id for device in self._devices() if device.kind is DeviceKind.GPU}
        devices = resident.placement.devices
        layers = tuple(device for device in devices if device in gpus) or devices[:1]
        self._lives[resident.instance] = _Life(
            resident.name, settings, layers, record.measurements[-1]
        )

    def end(
        self, instance: InstanceId, peak: Mapping[DeviceId, int] | None, at: datetime
    ) -> LearnedRecord | None:
        """A resident is gone. If its peak grew after it was ready, that is what it took.

        Return the changed record, None where nothing was learned.
        """
        life = self._lives.pop(instance, None)
        if life is None or not peak:
            return None
        newest = life.measured
        highest = len(life.layers) * max(peak.get(device, 0) for device in life.layers)
        if highest < newest.peak_bytes + GROWN_BYTES_MIN:
            return None
        record = self._records[life.model][life.settings]
        grown = replace(newest, peak_bytes=highest)
        measured = tuple(grown if one is newest else one for one in record.measurements)
        kinds = {device.id: device.kind for device in self._devices()}
        kind = kinds.get(life.layers[0], DeviceKind.GPU)
        kept = replace(
            record,
            footprint=after_loads(record.footprint, measured, kind),
            measurements=measured,
            measured_at=at,
        )
        self._keep(kept)
        return kept

    def _keep(self, record: LearnedRecord) -> None:
        self._records[record.model][record.settings] = record
        self._taught.add(record.model)

    def _types(self, spec: ModelSpec) -> dict[str, DeviceKind]:
        """The types of devices that the spec's layers may lie on."""
        types = {device.name: device.kind for device in self._devices()}
        hosts = {name: types[name] for name in types if types[name] is DeviceKind.HOST}
        others = {name: kind for name, kind in types.items() if name not in hosts}
        on_host = spec.serving.gpu_layers == 0 or not others
        return ((hosts or others) if on_host else others) or {"": DeviceKind.GPU}

    def _where(self, placement: Placement) -> tuple[str, DeviceKind]:
        """The type of device that the layers lie on."""
        for device in self._devices():
            if device.id == placement.devices[0]:
                return device.name, device.kind
        return "", DeviceKind.GPU

    def _settings(self, spec: ModelSpec, device_type: str) -> str:
        return fingerprint(spec, self._versions.get(spec.service, ""), device_type)

    def _under_other_settings(self, spec: ModelSpec, device_type: str) -> list[Measurement]:
        context = _context(spec, self._versions, device_type)
        return [
            measurement
            for record in self.records(spec.name)
            if record.context == context
            for measurement in record.measurements
        ]


def _context(spec: ModelSpec, versions: Mapping[ServiceName, str], device_type: str) -> str:
    """Loads with the same context correct each other: same files, server and type of device."""
    said = (spec.service, spec.file, spec.mmproj, spec.lora, versions.get(spec.service, ""))
    return hashlib.sha256(repr((*said, device_type)).encode()).hexdigest()[:16]


def _raised(
    before: LearnedRecord | None, footprint: Footprint, prediction: Footprint, kind: DeviceKind
) -> Raised | None:
    known = before.raised if before is not None else None
    if footprint.provenance is not Provenance.RAISED:
        return known
    newest = Raised(
        least_bytes=footprint.layer_bytes(kind),
        predicted_bytes=prediction.layer_bytes(kind),
        in_use=footprint.raised_in_use,
    )
    return most_raised(known, newest)


def _drift(
    model: ModelName, before: tuple[Measurement, ...], newest: Measurement, kind: DeviceKind
) -> Decide | None:
    distance = drift_bytes(before, newest)
    if not distance or (distance < 0 and kind is not DeviceKind.GPU):
        return None  # on a host, pages that were not touched yet are needed all the same
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
