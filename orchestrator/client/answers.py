"""What a caller gets: the fields that most programs read; `raw` has everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orchestrator.client.exchanges import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """An answer of a model. As text it is what the model said."""

    text: str
    model: str
    finish_reason: str | None = None  # stop, length, tool_calls, …
    reasoning: str = ""  # what it thought before, where the server says so
    tool_calls: tuple[Json, ...] = ()
    tokens_in: int | None = None
    tokens_out: int | None = None
    waited_s: float = 0.0  # for the model, before anything was asked of it
    evicted: tuple[str, ...] = ()  # who left for it
    raw: Json = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyModel:
    """A model that answers."""

    model: str
    endpoint: str | None
    vram_mb: int
    already_loaded: bool
    evicted: tuple[str, ...]
    waited_s: float
    lease_id: str | None
    expires_at: datetime | None
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unloaded:
    """What an unload came to: unloaded, not_loaded, or released where others still hold it."""

    model: str
    status: str
    freed_mb: int
    remaining_leases: int
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What a load would do now, to whom, and why not."""

    model: str
    fits: bool
    already_loaded: bool
    vram_mb: int | None  # None: nobody knows yet
    available_mb: int
    evict: tuple[str, ...]
    eta_s: float | None
    why_not: str  # empty where it fits
    code: str | None  # of the refusal
    suggestions: tuple[Json, ...]  # one changed setting that would do: send it with the load
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that a server can be asked for. Of `state`, only `loaded` answers at once."""

    name: str
    state: str
    aliases: tuple[str, ...] = ()
    context_size: int | None = None
    raw: Json = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model that is resident, on its way in or on its way out."""

    name: str
    status: str
    endpoint: str | None
    vram_mb: int
    busy: bool
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineStatus:
    """The machine now. Sizes are in units of 1024² bytes; None: it cannot be read."""

    total_mb: int | None
    free_mb: int | None
    available_mb: int | None
    loaded: Mapping[str, ServedModel]
    raw: Json = field(repr=False)


# --- how they are read -----------------------------------------------------------------------


def ready_model(body: Json) -> ReadyModel:
    return ReadyModel(
        model=body["model"],
        endpoint=body["endpoint"],
        vram_mb=body["vram_mb"],
        already_loaded=body["already_loaded"],
        evicted=tuple(body["evicted"]),
        waited_s=body["waited_seconds"],
        lease_id=body.get("lease_id"),
        expires_at=instant(body.get("expires_at")),
        raw=body,
    )


def unloaded(body: Json) -> Unloaded:
    return Unloaded(
        model=body["model"],
        status=body["status"],
        freed_mb=body["freed_mb"],
        remaining_leases=body["remaining_leases"],
        raw=body,
    )


def load_plan(body: Json) -> LoadPlan:
    refusal = body["refusal"] or {}
    return LoadPlan(
        model=body["model"],
        fits=body["fits"],
        already_loaded=body["already_loaded"],
        vram_mb=body["vram_mb"],
        available_mb=body["available_mb"],
        evict=tuple(leaver["model"] for leaver in body["evict"]),
        eta_s=body["eta_seconds"],
        why_not=f"{refusal.get('detail', '')} {refusal.get('remedy', '')}".strip(),
        code=refusal.get("code"),
        suggestions=tuple(body["suggestions"]),
        raw=body,
    )


def catalogue(body: Json) -> tuple[KnownModel, ...]:
    return tuple(
        KnownModel(
            name=entry["id"],
            state=entry["state"],
            aliases=tuple(entry["aliases"]),
            context_size=entry["context_size"],
            raw=entry,
        )
        for entry in body["data"]
    )


def machine_status(body: Json) -> MachineStatus:
    return MachineStatus(
        total_mb=body["total_mb"],
        free_mb=body["free_mb"],
        available_mb=body["available_mb"],
        loaded={name: _served(name, told) for name, told in body["loaded_models"].items()},
        raw=body,
    )


def _served(name: str, told: Json) -> ServedModel:
    return ServedModel(
        name=name,
        status=told["status"],
        endpoint=told["endpoint"],
        vram_mb=told["vram_mb"],
        busy=told["busy"],
        raw=told,
    )


def instant(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
