"""The catalogue as the API shows it: every model, in the shape of llama.cpp's router, with states.

A thousand models are a megabyte of JSON. What has not changed is kept encoded, so that a list
costs the loop about a millisecond.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from typing_extensions import TypedDict

from orchestrator.catalogue.facts import AUDIO, TOOLS, VISION, ModelFacts
from orchestrator.catalogue.found.unused import UnusedFile
from orchestrator.config.naming import TASK
from orchestrator.config.sections import GatewaySettings
from orchestrator.core.room.planner import Fits
from orchestrator.core.values.failures import Breaker, Failure
from orchestrator.core.values.residents import Resident
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.vram import DeviceKind, to_mb
from orchestrator.wall import WALL
from orchestrator.web.wire import shapes
from orchestrator.web.wire.devices import host_devices
from orchestrator.web.wire.error_answers import encode
from orchestrator.web.wire.instants import instant_or_none
from orchestrator.web.wire.shaping import (
    LOADED_STATUS,
    loaded,
    residents_by_name,
    serving_of,
    slots,
)

# llama.cpp's router knows only these; a model that drains still answers.
ROUTER_STATUS: Mapping[str, str] = {
    "loading": "loading",
    "loaded": "loaded",
    "draining": "loaded",
    "unloading": "unloaded",
    "stuck": "unloaded",
}


_NONE: Mapping[str, ModelSpec] = {}
_SENSES = {VISION: "image", AUDIO: "audio"}


class About(NamedTuple):
    """What is told of a model beside its spec."""

    facts: ModelFacts | None = None
    fits: Fits | None = None

    @property
    def described(self) -> shapes.Described:
        known = self.facts if self.facts is not None and self.facts.known else None
        can = () if known is None else known.capabilities
        return {
            "fits": None if self.fits is None else self.fits.value,
            "modalities": None
            if known is None
            else ["text", *(_SENSES[one] for one in can if one in _SENSES)],
            "tools": None if known is None else TOOLS in can,
            "trained_context": None if known is None else known.trained_context,
            "quantization": None if known is None else known.quantization or None,
            "parameters": None if known is None else known.parameter_size,
        }


NOTHING_TOLD = About()


class FileShape(TypedDict):
    file: str
    service: str
    size_mb: int


class FileList(TypedDict):
    files: list[FileShape]


def file_list(unused: Iterable[UnusedFile]) -> FileList:
    return {
        "files": [
            {"file": str(one.path), "service": one.service, "size_mb": to_mb(one.size_bytes)}
            for one in unused
        ]
    }


def entry(
    spec: ModelSpec, resident: Resident | None, snapshot: Snapshot, about: About = NOTHING_TOLD
) -> shapes.CatalogueEntry:
    breaker = snapshot.breakers.get(spec.name)
    failed = breaker is not None and breaker.refuses(snapshot.now_s)
    pinned = spec.name in snapshot.pinned
    has_gpu = _has_gpu(snapshot)
    away = snapshot.away.get(spec.name, "")
    return _entry(
        spec, resident, breaker, about, pinned=pinned, failed=failed, has_gpu=has_gpu, away=away
    )


def _has_gpu(snapshot: Snapshot) -> bool:
    """Before anything has been read, one is assumed."""
    kinds = {account.reading.device.kind for account in snapshot.accounts}
    return kinds != {DeviceKind.HOST}


def _entry(
    spec: ModelSpec,
    resident: Resident | None,
    breaker: Breaker | None,
    about: About,
    *,
    pinned: bool,
    failed: bool,
    has_gpu: bool,
    away: str = "",
) -> shapes.CatalogueEntry:
    state = LOADED_STATUS[resident.state] if resident else "failed" if spec.failed else "unloaded"
    router: shapes.RouterStatus = {"value": ROUTER_STATUS.get(state, "unloaded"), "args": []}
    if failed or state == "failed":
        router["failed"] = True
    return {
        "id": spec.name,
        "object": "model",
        "created": int(WALL.told(resident.ready_s)) if resident and resident.ready_s else 0,
        "owned_by": "vram-orchestrator",
        "aliases": list(spec.aliases),
        "tags": [],
        "status": router,
        "state": state,
        "service": spec.service,
        "priority": spec.priority,
        "pinned": pinned,
        **_takes(spec, has_gpu=has_gpu),
        "vram_provenance": spec.footprint.provenance,
        "ttl_seconds": spec.ttl_s,
        "load_seconds": round(spec.load_s, 3),
        "context_size": spec.serving.context_size if spec.settings_ours else None,
        **slots(spec, resident),
        **about.described,
        "profile": spec.profile,
        "devices": list(spec.devices),
        "keep_loaded": spec.keep_loaded,
        "away_because": away,
        "hub": spec.hub,
        "auto_download": spec.auto_download,
        "found": spec.found,
        "breaker": _breaker(breaker) if breaker else None,
        "failure": _failure(spec.failed) if spec.failed else None,
    }


def _takes(spec: ModelSpec, *, has_gpu: bool) -> shapes.Takes:
    footprint = spec.footprint
    alone = None if has_gpu else footprint.host_only_bytes
    if footprint.unknown:
        return {"vram_mb": None, "host_mb": None}
    return {
        "vram_mb": to_mb(footprint.device_bytes if alone is None else alone),
        "host_mb": to_mb(footprint.host_bytes if alone is None else 0),
    }


def _failure(value: Failure) -> shapes.FailureShape:
    return {"cause": str(value.reason), "detail": value.detail, "remedy": value.remedy}


def _breaker(value: Breaker) -> shapes.BreakerShape:
    return {
        "failures": value.failures,
        "open_until": instant_or_none(value.open_until_s),
        "cause": str(value.cause.reason) if value.cause else None,
        "detail": value.cause.detail if value.cause else "",
        "remedy": value.cause.remedy if value.cause else "",
    }


def model_answer(
    spec: ModelSpec,
    snapshot: Snapshot,
    profiles: Mapping[str, ModelSpec] = _NONE,
    about: About = NOTHING_TOLD,
) -> shapes.ModelAnswer:
    """`profiles` is the model under each of them."""
    resident = residents_by_name(snapshot).get(spec.name)
    host = host_devices(snapshot.accounts)
    leases = [held for held in snapshot.leases if resident and held.instance == resident.instance]
    return {
        **entry(spec, resident, snapshot, about),
        "profiles": {
            name: _under_profile(under, has_gpu=_has_gpu(snapshot))
            for name, under in profiles.items()
        },
        "tells_use": spec.tells_use,
        "serving": serving_of(spec),
        "lora": [{"file": file, "scale": scale} for file, scale in spec.adapters],
        "resident": loaded(resident, snapshot, leases, host) if resident else None,
    }


def _under_profile(spec: ModelSpec, *, has_gpu: bool) -> shapes.UnderProfile:
    return {"context_size": spec.serving.context_size, **_takes(spec, has_gpu=has_gpu)}


def other_names(gateway: GatewaySettings) -> dict[str, shapes.OtherName]:
    """What requests may name beside the models themselves."""
    meant: dict[str, tuple[str, ...]] = {
        f"{TASK}{task}": (name,) for task, name in gateway.tasks.items()
    }
    meant.update(gateway.chains)
    return {
        name: {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "vram-orchestrator",
            "stands_for": list(names),
        }
        for name, names in meant.items()
    }


def with_other_names(listing: bytes, gateway: GatewaySettings) -> bytes:
    """A list of models as it is encoded, with the other names behind them."""
    more = b",".join(map(encode, other_names(gateway).values()))
    before, end = listing[:-2], listing[-2:]
    between = b"," if more and not before.endswith(b"[") else b""
    return before + between + more + end


class Shelf:
    """Encoded entries of models that are neither resident nor broken: usually most of them."""

    def __init__(self) -> None:
        self._kept: dict[ModelName, tuple[ModelSpec, tuple[bool, bool, About], bytes]] = {}

    def listing(
        self,
        catalogue: Mapping[ModelName, ModelSpec],
        snapshot: Snapshot,
        about: Callable[[ModelSpec], About] = lambda _: NOTHING_TOLD,
    ) -> bytes:
        """The body of GET /models."""
        residents = residents_by_name(snapshot)
        moving = {*residents, *snapshot.breakers, *snapshot.away}
        has_gpu = _has_gpu(snapshot)
        for gone in self._kept.keys() - catalogue.keys():
            del self._kept[gone]
        entries = [
            self._resting(spec, spec.name in snapshot.pinned, has_gpu, about(spec))
            if spec.name not in moving
            else encode(entry(spec, residents.get(spec.name), snapshot, about(spec)))
            for spec in catalogue.values()
        ]
        return b'{"object":"list","data":[' + b",".join(entries) + b"]}"

    def _resting(self, spec: ModelSpec, pinned: bool, has_gpu: bool, about: About) -> bytes:
        kept, shown = self._kept.get(spec.name), (pinned, has_gpu, about)
        if kept is not None and kept[0] is spec and kept[1] == shown:
            return kept[2]
        body = encode(_entry(spec, None, None, about, pinned=pinned, failed=False, has_gpu=has_gpu))
        self._kept[spec.name] = spec, shown, body
        return body
