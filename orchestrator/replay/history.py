"""Reads what `orchestrator events --export` writes.

A line of JSON for the machine, for every model, every request that has ended and every decision.
"""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.core.values.decisions import DecisionKind
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.specs import PRIORITY_DEFAULT, ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import DeviceId, DeviceKind, MiB
from orchestrator.replay.trace import Demand, ServedDemand, Tally, Trace, VirtualDevice

FORMAT = 1  # of the lines; a later version may add fields and kinds of lines
NUMBER_MAX = 1e15  # of anything that is counted here
BUDGET_MB_MIN = 16  # sizes are whole MB: a smaller difference is no budget
ANSWERED, CLIENT_GONE = "answered", "client_gone"  # how requests end, as the API has it
LINE_CHARS_MAX = 1 << 20

Line = dict[str, Any]


class TraceInvalid(ValueError):
    """What is wrong with a trace, in a sentence; with the number of the line, where it is one's."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.line = line


@dataclass(frozen=True, slots=True)
class _Row:
    """One line, with its number for what is wrong with it. All that reads raises TraceInvalid."""

    number: int
    said: Line

    def wrong(self, problem: str) -> TraceInvalid:
        return TraceInvalid(problem, self.number)

    def text(self, key: str) -> str:
        value = self.said.get(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(f"`{key}` is not a text: {_shown(value)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.said.get(key) or []
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.wrong(f"`{key}` is not a list of texts: {_shown(value)}")
        return tuple(value)

    def number_of(self, key: str, default: float | None = None) -> float:
        value = self.said.get(key)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(f"`{key}` is not a number: {_shown(value)}")
        if not 0 <= value <= NUMBER_MAX:  # nor is it NaN
            raise self.wrong(f"`{key}` is not a number from 0 on: {_shown(value)}")
        return float(value)

    def instant_s(self, key: str) -> float:
        text = self.text(key)
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError, OSError) as error:
            raise self.wrong(f"`{key}` is not an instant in ISO 8601: {_shown(text)}") from error


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_trace(lines: Iterable[str]) -> Trace:
    """Raise TraceInvalid, with the number of the first line that is wrong."""
    machine: _Row | None = None
    rows: dict[str, list[_Row]] = {"model": [], "request": [], "decision": []}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        row = _Row(number, _parsed(number, text))
        kind = row.text("type")
        if kind == "machine":
            machine = machine or _known(row)
        elif kind in rows:
            rows[kind].append(row)
        else:
            raise row.wrong(f"`type` is none of machine, model, request, decision: {_shown(kind)}")
    if machine is None:
        said = "it has no line of type machine: is it what `orchestrator events --export` wrote?"
        raise TraceInvalid(said)
    return _trace(machine, rows)


def _parsed(number: int, text: str) -> Line:
    if len(text) > LINE_CHARS_MAX:
        raise TraceInvalid(f"it has more than {LINE_CHARS_MAX} characters", number)
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceInvalid(f"it is not JSON ({error})", number) from error
    if not isinstance(said, dict):
        raise TraceInvalid("it is not a JSON object", number)
    return said


def _known(row: _Row) -> _Row:
    if row.said.get("format") != FORMAT:
        raise row.wrong(f"its `format` is not {FORMAT}: another version of the program wrote it")
    return row


def _trace(machine: _Row, rows: Mapping[str, list[_Row]]) -> Trace:
    devices, headroom_bytes = _devices(machine)
    sized = [row for row in rows["model"] if row.said.get("vram_mb") is not None]
    models = {spec.name: spec for spec in map(_model, sized)}
    names = _names(sized)
    undescribed: Counter[str] = Counter()
    demands: list[Demand] = []
    requests = sorted(rows["request"], key=lambda row: row.instant_s("began_at"))
    usual_s = _usual_s(requests, names)
    described: list[_Row] = []
    for row in requests:
        name = _model_of(row, names)
        if name is None:
            undescribed[str(row.said.get("model") or row.said.get("asked"))] += 1
            continue
        described.append(row)
        demands.append(_demand(row, models[name], usual_s))
    if not demands:
        raise TraceInvalid("it holds no request for a model that it describes: nothing to replay")
    return Trace(
        devices=devices,
        headroom_bytes=headroom_bytes,
        models=models,
        demands=tuple(demands),
        was=_tally(described, demands, rows["decision"], models),
        undescribed=dict(undescribed),
        not_kept=int(machine.number_of("not_kept", 0)),
    )


def _devices(machine: _Row) -> tuple[tuple[VirtualDevice, ...], int]:
    """The devices that could be read, and what is kept free on each."""
    devices = machine.said.get("devices")
    if not isinstance(devices, list) or not all(isinstance(one, dict) for one in devices):
        raise machine.wrong("`devices` is not a list of objects")
    found, headrooms = [], [0]
    for row in (_Row(machine.number, said) for said in devices):
        if row.said.get("total_mb") is None or row.said.get("available_mb") is None:
            continue  # it could not be read when it was written
        device, headroom_bytes = _device(row)
        found.append(device)
        headrooms.append(headroom_bytes)
    if not found:
        raise machine.wrong("`devices` names none that could be read")
    return tuple(found), max(headrooms)


def _device(row: _Row) -> tuple[VirtualDevice, int]:
    """A device under a budget is one of that size: nothing else counts on it."""
    kind = row.text("kind")
    if kind not in {*DeviceKind}:
        raise row.wrong(f"`kind` of a device is not known: {_shown(kind)}")
    total_mb, foreign_mb = row.number_of("total_mb"), row.number_of("foreign_mb", 0)
    headroom_mb = row.number_of("headroom_mb", 0)
    ours_mb = row.number_of("available_mb") + row.number_of("charged_mb", 0)
    if 0 < ours_mb < total_mb - foreign_mb - headroom_mb - BUDGET_MB_MIN:
        total_mb, foreign_mb, headroom_mb = ours_mb, 0.0, 0.0
    device = VirtualDevice(
        id=DeviceId(row.text("id")),
        name=row.text("name"),
        kind=DeviceKind(kind),
        total_bytes=int(total_mb) * MiB,
        foreign_bytes=int(foreign_mb) * MiB,
    )
    return device, int(headroom_mb) * MiB


def _model(row: _Row) -> ModelSpec:
    ttl_s = row.number_of("ttl_seconds", 0)
    return ModelSpec(
        name=ModelName(row.text("id")),
        service=ServiceName("replay"),
        footprint=Footprint(
            device_bytes=int(row.number_of("vram_mb") * MiB),
            host_bytes=int(row.number_of("host_mb", 0) * MiB),
        ),
        priority=int(row.number_of("priority", PRIORITY_DEFAULT)),
        ttl_s=ttl_s or None,
        devices=row.texts("devices"),
        load_s=row.number_of("load_seconds"),
        pinned=row.said.get("pinned") is True,
        keep_loaded=row.said.get("keep_loaded") is True,
    )


def _names(models: Iterable[_Row]) -> dict[str, ModelName]:
    """Also by their other names: a request that was refused has only the one it asked for."""
    found: dict[str, ModelName] = {}
    for row in models:
        name = ModelName(row.text("id"))
        found |= {alias: name for alias in row.texts("aliases") if alias not in found}
    return found | {row.text("id"): ModelName(row.text("id")) for row in models}


def _model_of(row: _Row, names: Mapping[str, ModelName]) -> ModelName | None:
    """Which of those that are described: by what served it, else by what it asked for."""
    said = row.said.get("model") or row.said.get("asked")
    return names.get(said) if isinstance(said, str) else None


def _served(row: _Row) -> bool:
    """Whether a model took it; where none did, all its time was waiting."""
    return row.said.get("model") is not None


def _serves_s(row: _Row) -> float:
    return max(row.number_of("total_seconds") - row.number_of("wait_seconds"), 0.0)


def _waited_s(row: _Row) -> float:
    return row.number_of("wait_seconds" if _served(row) else "total_seconds")


def _usual_s(requests: Iterable[_Row], names: Mapping[str, ModelName]) -> dict[ModelName, float]:
    """How long each model usually took: for requests that it would have served."""
    seen: dict[ModelName, list[float]] = {}
    for row in requests:
        name = _model_of(row, names)
        if name is not None and _served(row):
            seen.setdefault(name, []).append(_serves_s(row))
    return {name: statistics.median(each) for name, each in seen.items()}


def _demand(row: _Row, model: ModelSpec, usual_s: Mapping[ModelName, float]) -> Demand:
    """A client that left before it was served leaves after that time again."""
    served = _served(row)
    left = not served and row.text("outcome") == CLIENT_GONE
    return Demand(
        at_s=row.instant_s("began_at"),
        model=model.name,
        serves_s=_serves_s(row) if served else usual_s.get(model.name, 0.0),
        priority=int(row.number_of("priority", model.priority)),
        patience_s=_waited_s(row) if left else None,
    )


def _tally(
    requests: list[_Row],
    demands: list[Demand],
    decisions: Iterable[_Row],
    models: Mapping[ModelName, ModelSpec],
) -> Tally:
    """As the daemon wrote it down. What loads took is what the models' loads take now."""
    answered: list[ServedDemand] = []
    refused: Counter[str] = Counter()
    lost_s: list[float] = []
    for row, demand in zip(requests, demands, strict=True):
        outcome = row.text("outcome")
        waited_s = _waited_s(row)
        if outcome != ANSWERED:
            refused[outcome] += 1
            lost_s.append(waited_s)
            continue
        ended_s = demand.at_s + row.number_of("total_seconds")
        answered.append(ServedDemand(demand=demand, waited_s=waited_s, ended_s=ended_s))
    kinds: Counter[str] = Counter()
    reload_s = 0.0
    for row in decisions:
        if row.instant_s("at") < demands[0].at_s:
            continue  # before the first request that is known
        kind = row.text("kind")
        kinds[kind] += 1
        if kind == DecisionKind.LOADED:
            spec = models.get(ModelName(str(row.said.get("model"))))
            reload_s += spec.load_s if spec is not None else 0.0
    ends_s = max(row.instant_s("began_at") + row.number_of("total_seconds") for row in requests)
    return Tally(
        answered=tuple(answered),
        refused=dict(refused),
        lost_s=tuple(lost_s),
        loads=kinds[DecisionKind.LOADED],
        evictions=kinds[DecisionKind.EVICTED],
        reload_s=reload_s,
        lasted_s=ends_s - demands[0].at_s,
    )
