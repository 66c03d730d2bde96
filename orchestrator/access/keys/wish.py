"""A key that is wanted, and what may come of that: no key exceeds the one that made it."""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, JsonValue

from orchestrator.access.keys.decision import AccessCode, NotAllowed
from orchestrator.access.keys.record import (
    EVERY_MODEL,
    IN_FLIGHT_DEFAULT,
    REQUESTS_PER_MINUTE_DEFAULT,
    WAITING_DEFAULT,
    ApiKey,
    KeyScope,
)

PER_MINUTE_MAX = 60_000  # so many instants are remembered of one key
AT_ONCE_MAX = 10_000
PRIORITY_MAX = 1000
MB_MAX = 1 << 30
LEASE_S_MAX = 7 * 86400.0
TOKENS_MAX = 1 << 30
DURATION_S_MAX = 10 * 366 * 86400.0
LISTED_MAX = 64  # globs, networks
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_GLOB = re.compile(r"[A-Za-z0-9._:/@+*-]{1,128}")


def seconds_in(text: str) -> float:
    """Of a duration such as 90d, 24h or 30m. Raise ValueError."""
    found = _DURATION.fullmatch(text)
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else -1.0
    if not 0 <= seconds <= DURATION_S_MAX:
        raise ValueError("should be a number with s, m, h, d or w, such as 90d; ten years at most")
    return seconds


def no_boolean(value: object) -> object:
    """Pydantic takes true for 1. Raise ValueError."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")  # noqa: TRY004 - pydantic's way
    return value


def _duration(text: str) -> str:
    seconds_in(text)
    return text


def _glob(text: str) -> str:
    if not _GLOB.fullmatch(text):
        raise ValueError("should be a model's name, where * stands for any characters")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"should be a network such as 192.0.2.0/24: {error}") from error


def _shown(pattern: re.Pattern[str]) -> dict[str, JsonValue]:
    """For the document: what is refused for it is refused in words of our own."""
    return {"pattern": f"^{pattern.pattern}$"}


Duration = Annotated[
    str,
    Field(max_length=16, json_schema_extra=_shown(_DURATION)),
    AfterValidator(_duration),
]
Glob = Annotated[str, Field(json_schema_extra=_shown(_GLOB)), AfterValidator(_glob)]
Network = Annotated[str, Field(max_length=64), AfterValidator(_network)]
KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._@+ -]{1,64}$")]
_Number = BeforeValidator(no_boolean)
AtOnce = Annotated[int, Field(ge=1, le=AT_ONCE_MAX), _Number]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWish:
    """A key that should be made. What is not said is as for every key, or as its creator has it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"name": "n8n", "scopes": ["load", "lease"]}]},
    )

    name: KeyName
    """For people: who or what has it."""
    scopes: Annotated[tuple[KeyScope, ...], Field(min_length=1, max_length=len(KeyScope))]
    """read is part of use, use of load; admin is all."""
    models: Annotated[tuple[Glob, ...], Field(min_length=1, max_length=LISTED_MAX)] | None = None
    """Names of models, where * stands for any characters; else all."""
    max_priority: Annotated[int, Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX), _Number] | None = None
    """More is refused."""
    requests_per_minute: Annotated[int, Field(ge=1, le=PER_MINUTE_MAX), _Number] | None = None
    """Else 60."""
    burst: AtOnce | None = None
    """Of these, so many within one second; else all."""
    max_in_flight: AtOnce | None = None
    """Requests to models at the same time; else 8."""
    max_waiting: AtOnce | None = None
    """Requests that wait for a model at the same time; else 20."""
    vram_mb: Annotated[int, Field(ge=1, le=MB_MAX), _Number] | None = None
    """Of all that it has loaded and leased; else no bound."""
    max_lease_seconds: Annotated[float, Field(gt=0, le=LEASE_S_MAX), _Number] | None = None
    """Longer leases are refused."""
    max_tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX), _Number] | None = None
    """Of what one request has a model write, all its answers together: a request that asks for more
    is refused, one that says nothing gets so many; else no bound."""
    networks: Annotated[tuple[Network, ...], Field(max_length=LISTED_MAX)] = ()
    """From which it may come; else from anywhere."""
    expires: Duration | None = None
    """After so long, such as 90d; else never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginOrder:
    """A browser that should be logged in."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"key": "vo_k3v9x2mq_…"}]},
    )

    key: Annotated[str, Field(min_length=1, max_length=200)]
    """It is not kept: the session's cookie stands for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateOrder:
    """How long the secret of before stays valid."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra={"examples": [{"grace": "24h"}]},
    )

    grace: Duration = "0s"
    """Such as 24h; else it ends at once."""


def made(
    wish: KeyWish, *, id_: str, digest: str, now_s: float, creator: ApiKey | None = None
) -> ApiKey | NotAllowed:
    """The key, or why its creator may not make it. Without a creator: the operator's own."""
    expires_s = None if wish.expires is None else now_s + seconds_in(wish.expires)
    key = ApiKey(
        id=id_,
        digest=digest,
        name=wish.name,
        scopes=tuple(dict.fromkeys(wish.scopes)),
        created_s=now_s,
        models=wish.models or EVERY_MODEL,
        max_priority=wish.max_priority,
        requests_per_minute=wish.requests_per_minute or REQUESTS_PER_MINUTE_DEFAULT,
        burst=wish.burst,
        max_in_flight=wish.max_in_flight or IN_FLIGHT_DEFAULT,
        max_waiting=wish.max_waiting or WAITING_DEFAULT,
        vram_mb=wish.vram_mb,
        max_lease_s=wish.max_lease_seconds,
        max_tokens=wish.max_tokens,
        networks=wish.networks,
        expires_s=expires_s,
        created_by=None if creator is None else creator.id,
    )
    if creator is None:
        return key
    beyond = tuple(_beyond(wish, key, creator))
    if beyond:
        return NotAllowed(
            code=AccessCode.FORBIDDEN,
            detail=f"No key exceeds the one that makes it; {creator.id} has less: "
            f"{', '.join(beyond)}.",
            remedy="Ask for less, or make it on the daemon's machine with --config.",
            members={"beyond": list(beyond)},
        )
    return _within(key, wish, creator)


def _beyond(wish: KeyWish, key: ApiKey, creator: ApiKey) -> Iterator[str]:
    """What was asked for by name and is more than the creator has."""
    if not key.granted <= creator.granted:
        yield "scopes"
    if wish.models and not all(map(creator.sees, wish.models)):  # a * is matched by a * only
        yield "models"
    for name, wanted, has in (
        ("max_priority", wish.max_priority, creator.max_priority),
        ("requests_per_minute", wish.requests_per_minute, creator.requests_per_minute),
        ("burst", wish.burst, creator.burst),
        ("max_in_flight", wish.max_in_flight, creator.max_in_flight),
        ("max_waiting", wish.max_waiting, creator.max_waiting),
        ("vram_mb", wish.vram_mb, creator.vram_mb),
        ("max_lease_seconds", wish.max_lease_seconds, creator.max_lease_s),
        ("max_tokens", wish.max_tokens, creator.max_tokens),
        ("expires", key.expires_s, creator.expires_s),
    ):
        if wanted is not None and has is not None and wanted > has:
            yield name
    if creator.networks and not all(_lies_in(one, creator.networks) for one in wish.networks):
        yield "networks"


def _within(key: ApiKey, wish: KeyWish, creator: ApiKey) -> ApiKey:
    """Where nothing was said, the creator's bounds hold."""
    return ApiKey(
        id=key.id,
        digest=key.digest,
        name=key.name,
        scopes=key.scopes,
        created_s=key.created_s,
        models=wish.models or creator.models,
        max_priority=_least(key.max_priority, creator.max_priority),
        requests_per_minute=min(key.requests_per_minute, creator.requests_per_minute),
        burst=_least(key.burst, creator.burst),
        max_in_flight=min(key.max_in_flight, creator.max_in_flight),
        max_waiting=min(key.max_waiting, creator.max_waiting),
        vram_mb=_least(key.vram_mb, creator.vram_mb),
        max_lease_s=_least(key.max_lease_s, creator.max_lease_s),
        max_tokens=_least(key.max_tokens, creator.max_tokens),
        networks=wish.networks or creator.networks,
        expires_s=_least(key.expires_s, creator.expires_s),
        created_by=creator.id,
    )


Number = TypeVar("Number", int, float)


def _least(one: Number | None, other: Number | None) -> Number | None:
    bounds = [bound for bound in (one, other) if bound is not None]
    return min(bounds) if bounds else None


def _lies_in(network: str, networks: Iterable[str]) -> bool:
    inner = ipaddress.ip_network(network)
    return any(
        inner.subnet_of(outer)  # type: ignore[arg-type]
        for outer in map(ipaddress.ip_network, networks)
        if outer.version == inner.version
    )


def descendants(id_: str, keys: Iterable[ApiKey]) -> frozenset[str]:
    """The key, and all that were made with it or with these: they end with it."""
    known = tuple(keys)
    found, last = {id_}, 0
    while len(found) > last:
        last = len(found)
        found |= {key.id for key in known if key.created_by in found}
    return frozenset(found)
