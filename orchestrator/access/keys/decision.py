"""May this key do that? A plain function of the key, what it asks for, and the moment."""

import ipaddress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.access.keys.record import ApiKey, KeyScope


class AccessCode(StrEnum):
    UNAUTHORIZED = "unauthorized"  # no key, or none that we know
    KEY_EXPIRED = "key_expired"
    FORBIDDEN = "forbidden"  # it lacks a scope
    WRONG_NETWORK = "wrong_network"
    PRIORITY_TOO_HIGH = "priority_too_high"
    LEASE_TOO_LONG = "lease_too_long"
    TOO_MANY_TOKENS = "too_many_tokens"
    RATE_LIMITED = "rate_limited"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAllowed:
    """Why a request is turned away. Nothing in it tells what others have."""

    code: AccessCode
    detail: str
    remedy: str
    retry_after_s: float | None = None
    members: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Presented:
    """A key that we know, by the secret that was shown; one of a rotation ends before the key."""

    key: ApiKey
    ends_s: float | None = None  # None: when the key does
    digest: str = field(default="", compare=False)  # of what was shown


def decide(
    shown: Presented | None,
    scope: KeyScope | None,
    *,
    now_s: float,
    priority: int | None = None,
    address: str | None = None,
) -> NotAllowed | None:
    """None: granted. `scope` is the route's; None: any key will do. `address` is the caller's."""
    if shown is None:
        return unauthorized()
    key = shown.key
    if key.revoked_s is not None:
        return NotAllowed(
            code=AccessCode.UNAUTHORIZED,
            detail=f"The key {key.id} was revoked.",
            remedy="Ask who administers this daemon for another one.",
        )
    ends = [end_s for end_s in (shown.ends_s, key.expires_s) if end_s is not None]
    if ends and now_s >= min(ends):
        return NotAllowed(
            code=AccessCode.KEY_EXPIRED,
            detail=f"The key {key.id} has expired.",
            remedy="Use the one that took its place, or ask for another.",
        )
    if key.networks and not _comes_from(address, key.networks):
        return NotAllowed(
            code=AccessCode.WRONG_NETWORK,
            detail=f"The key {key.id} is not for requests from {address or 'a local socket'}.",
            remedy="Its networks are those it was made for: `orchestrator keys list` shows them.",
        )
    if scope is not None and scope not in key.granted:
        return lacks(key, scope)
    return too_important(key, priority)


def unauthorized() -> NotAllowed:
    return NotAllowed(
        code=AccessCode.UNAUTHORIZED,
        detail="This daemon has keys, and the request shows none that it knows.",
        remedy="Send `Authorization: Bearer vo_…`; `orchestrator keys create NAME --scope use "
        "--config FILE` makes one on its machine.",
    )


def lacks(key: ApiKey, scope: KeyScope, why: str = "") -> NotAllowed:
    """The key has not that scope. `why` says where the request came to need it."""
    return NotAllowed(
        code=AccessCode.FORBIDDEN,
        detail=f"The key {key.id} ({key.name}) lacks the scope `{scope}`{why}.",
        remedy=f"Use a key with `--scope {scope}`.",
        members={"scope": str(scope), "scopes": sorted(map(str, key.granted))},
    )


def changes_for_all(key: ApiKey, what: str, model: str, remedy: str | None = None) -> NotAllowed:
    """Of a request to a server that is no question but an order."""
    why = f", and {what} changes the server of {model} for everybody who asks it"
    refused = lacks(key, KeyScope.ADMIN, why)
    return refused if remedy is None else replace(refused, remedy=remedy)


def too_important(key: ApiKey, priority: int | None) -> NotAllowed | None:
    """None where the priority is within the key's ceiling, or not said."""
    if priority is None or key.max_priority is None or priority <= key.max_priority:
        return None
    return NotAllowed(
        code=AccessCode.PRIORITY_TOO_HIGH,
        detail=f"The key {key.id} may ask with priority {key.max_priority} at most, not "
        f"{priority}.",
        remedy=f"Ask with {key.max_priority} or less.",
        members={"max_priority": key.max_priority},
    )


def too_long(key: ApiKey, lease_s: float | None) -> NotAllowed | None:
    """None where the lease is no longer than the key's may be. One without an end is too long."""
    if key.max_lease_s is None or (lease_s is not None and lease_s <= key.max_lease_s):
        return None
    return NotAllowed(
        code=AccessCode.LEASE_TOO_LONG,
        detail=f"The key {key.id} may lease for {key.max_lease_s:g} s at most.",
        remedy="Lease for less and renew it.",
        members={"max_lease_seconds": key.max_lease_s},
    )


def too_many_tokens(key: ApiKey, asked: str) -> NotAllowed:
    """`asked` is what the request wants, in words."""
    return NotAllowed(
        code=AccessCode.TOO_MANY_TOKENS,
        detail=f"The key {key.id} may have {key.max_tokens} tokens written by one request, all its "
        f"answers together, not {asked}.",
        remedy="Ask for less, or leave the number out: it is set then.",
        members={"max_tokens": key.max_tokens},
    )


def no_bound_there(key: ApiKey, what: str) -> NotAllowed:
    """Of a way to ask on which nobody can say how much may be written."""
    return NotAllowed(
        code=AccessCode.TOO_MANY_TOKENS,
        detail=f"The key {key.id} may have {key.max_tokens} tokens written by one request, and "
        f"{what} has no such bound.",
        remedy="Ask by a path of the OpenAI or Anthropic API, with a body in JSON.",
        members={"max_tokens": key.max_tokens},
    )


def not_among(key: ApiKey, model: str) -> NotAllowed:
    return NotAllowed(
        code=AccessCode.FORBIDDEN,
        detail=f"{model} is not among the models of the key {key.id}: {', '.join(key.models)}.",
        remedy="Use a key with `--model` for it.",
        members={"models": list(key.models)},
    )


def _comes_from(address: str | None, networks: tuple[str, ...]) -> bool:
    """A caller whose address is not known comes from none of them."""
    try:
        known = plain_address(address or "")
    except ValueError:
        return False
    return any(known in ipaddress.ip_network(network) for network in networks)


def plain_address(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """IPv4 in IPv6's clothes is IPv4. Raise ValueError."""
    known = ipaddress.ip_address(address.partition("%")[0])
    mapped = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return known if mapped is None else mapped
