"""How keys look on the wire: everything but their secrets and digests."""

from typing_extensions import TypedDict

from orchestrator.access.keys.acts import NewKey
from orchestrator.access.keys.record import ApiKey, KeyScope
from orchestrator.web.wire.instants import dated, dated_or_none

EVERYBODY = "everybody"  # the name of who asks where there are no keys


class KeyLimits(TypedDict):
    """Of one key; null: no bound."""

    max_priority: int | None
    requests_per_minute: int | None
    burst: int | None
    max_in_flight: int | None
    max_waiting: int | None
    vram_mb: int | None
    max_lease_seconds: float | None
    max_tokens: int | None


class WhoAmI(TypedDict):
    id: str | None
    name: str
    scopes: list[str]
    models: list[str]
    limits: KeyLimits


class KeyShape(TypedDict):
    """One key. `scopes` are those it was made with; what is part of them holds too."""

    id: str
    name: str
    scopes: list[str]
    models: list[str]
    limits: KeyLimits
    networks: list[str]
    status: str  # valid, expired, revoked
    created_at: str
    created_by: str | None
    expires_at: str | None
    former_until: str | None  # the secret of before a rotation is valid so long
    revoked_at: str | None


class KeyList(TypedDict):
    keys: list[KeyShape]


class MadeKey(KeyShape):
    key: str  # shown this once


class Revoked(TypedDict):
    revoked: list[str]


def key(record: ApiKey, now_s: float) -> KeyShape:
    former = record.former
    grace_s = None if former is None or former.ends_s <= now_s else former.ends_s
    return {
        "id": record.id,
        "name": record.name,
        "scopes": list(map(str, record.scopes)),
        "models": list(record.models),
        "limits": _limits(record),
        "networks": list(record.networks),
        "status": _status(record, now_s),
        "created_at": dated(record.created_s),
        "created_by": record.created_by,
        "expires_at": dated_or_none(record.expires_s),
        "former_until": dated_or_none(grace_s),
        "revoked_at": dated_or_none(record.revoked_s),
    }


def made(new: NewKey, now_s: float) -> MadeKey:
    return {**key(new.record, now_s), "key": new.secret}


def who(record: ApiKey | None) -> WhoAmI:
    """None: there are no keys."""
    return {
        "id": None if record is None else record.id,
        "name": EVERYBODY if record is None else record.name,
        "scopes": sorted(map(str, KeyScope if record is None else record.granted)),
        "models": ["*"] if record is None else list(record.models),
        "limits": _limits(record),
    }


def _limits(record: ApiKey | None) -> KeyLimits:
    return {
        "max_priority": None if record is None else record.max_priority,
        "requests_per_minute": None if record is None else record.requests_per_minute,
        "burst": None if record is None else record.burst,
        "max_in_flight": None if record is None else record.max_in_flight,
        "max_waiting": None if record is None else record.max_waiting,
        "vram_mb": None if record is None else record.vram_mb,
        "max_lease_seconds": None if record is None else record.max_lease_s,
        "max_tokens": None if record is None else record.max_tokens,
    }


def _status(record: ApiKey, now_s: float) -> str:
    if record.revoked_s is not None:
        return "revoked"
    return "expired" if record.expires_s is not None and now_s >= record.expires_s else "valid"


_SAMPLE = ApiKey(
    id="k3v9x2mq",
    digest="",
    name="n8n",
    scopes=(KeyScope.LOAD, KeyScope.LEASE),
    created_s=1_768_473_000.0,
    models=("qwen*",),
    max_priority=5,
    vram_mb=24576,
)
WHO = who(_SAMPLE)
KEYS: KeyList = {"keys": [key(_SAMPLE, _SAMPLE.created_s)]}
MADE = made(NewKey(_SAMPLE, "vo_k3v9x2mq_…"), _SAMPLE.created_s)
REVOKED: Revoked = {"revoked": ["k3v9x2mq"]}
