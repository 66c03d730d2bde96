"""Which requests are acts that the audit log has a line of: a table, beside that of the routes.

Every route that changes something stands here, and a test compares. An admin's is on the disk
before it is performed.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from orchestrator.web.guard import READING_METHODS

Values = Mapping[str, Any]  # what a route's function is called with


def always(_: Values) -> bool:
    return True


def never(_: Values) -> bool:
    return False


def pins(values: Values) -> bool:
    return bool(getattr(values.get("order"), "pin", False))


def forces(values: Values) -> bool:
    return bool(getattr(values.get("order"), "force", False))


@dataclass(frozen=True, slots=True)
class ActKind:
    action: str
    by_admin: Callable[[Values], bool] = never
    folded: bool = False  # of one caller and target, one line a minute


ACTS: Mapping[tuple[str, str], ActKind] = {
    ("POST", "/models/load"): ActKind("model.load", pins),
    ("POST", "/models/unload"): ActKind("model.unload", forces),
    ("POST", "/api/models/unload"): ActKind("model.unload"),
    ("POST", "/api/models/unload/{name:path}"): ActKind("model.unload"),
    ("PUT", "/models/{name}"): ActKind("catalogue.put", always),
    ("DELETE", "/models/{name}"): ActKind("catalogue.delete", always),
    ("PUT", "/models/{name}/pin"): ActKind("model.pin", always),
    ("DELETE", "/models/{name}/pin"): ActKind("model.unpin", always),
    ("GET", "/models/{name}/logs"): ActKind("log.read", folded=True),
    ("POST", "/models/{name}/benchmarks"): ActKind("model.benchmark"),
    ("POST", "/vram/leases"): ActKind("lease.room"),
    ("PUT", "/vram/leases/{lease_id}"): ActKind("lease.renew"),
    ("DELETE", "/vram/leases/{lease_id}"): ActKind("lease.release"),
    ("PUT", "/leases/{lease_id}"): ActKind("lease.renew"),
    ("DELETE", "/leases/{lease_id}"): ActKind("lease.release"),
    ("POST", "/requests/{request_id}/cancel"): ActKind("request.cancel", always),
    ("POST", "/admin/reload"): ActKind("config.reload", always),
    ("PUT", "/devices/{device_id}/fake"): ActKind("device.fake", always),
    ("POST", "/session"): ActKind("session.open"),
    ("DELETE", "/session"): ActKind("session.close"),
    ("POST", "/keys"): ActKind("key.create", always),
    ("POST", "/keys/{key_id}/rotate"): ActKind("key.rotate", always),
    ("DELETE", "/keys/{key_id}"): ActKind("key.revoke", always),
    ("POST", "/api/pull"): ActKind("model.pull", always),
    ("DELETE", "/api/delete"): ActKind("catalogue.delete", always),
}
# What is sent like a write and changes nothing.
NO_ACTS = frozenset({("POST", "/models/plan"), ("POST", "/models/estimate"), ("POST", "/api/show")})

_PARAMETER = re.compile(r"\{[a-z_]+(:path)?\}")
_NAMED_BY = ("name", "lease_id", "request_id", "device_id", "key_id", "model")


def find_act(method: str, path: str) -> ActKind | None:
    if method in READING_METHODS and not path.endswith("/logs"):
        return None
    return _find(method, path)


@lru_cache(maxsize=256)
def _find(method: str, path: str) -> ActKind | None:
    for one, shape, kind in _SHAPES:
        if one == method and shape.fullmatch(path):
            return kind
    return None


def _shape(template: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(template)
    texts, ways = parts[::2], parts[1::2]
    pattern = re.escape(texts[0])
    for way, text in zip(ways, texts[1:], strict=True):
        pattern += (".+" if way else "[^/]+") + re.escape(text)
    return re.compile(pattern, re.DOTALL)


def _in_order(table: Iterable[tuple[tuple[str, str], ActKind]]) -> list[Any]:
    """Paths without a parameter first: they are no names."""
    rows = sorted(table, key=lambda row: "{" in row[0][1])
    return [(method, _shape(template), kind) for (method, template), kind in rows]


_SHAPES: list[tuple[str, re.Pattern[str], ActKind]] = _in_order(ACTS.items())


def target_of(values: Values) -> str | None:
    """What is acted on, by its name: of the path, else of the order."""
    for name in _NAMED_BY:
        if (value := values.get(name)) is not None:
            return str(value)
    order = values.get("order")
    for name in ("model", "owner", "name"):
        if (value := getattr(order, name, None)) is not None:
            return str(value)
    return None


def numbers_of(values: Values) -> dict[str, int | float]:
    """The figures of an order that say how much was asked for."""
    order = values.get("order")
    found = {name: getattr(order, name, None) for name in ("priority", "vram_mb", "lease_s")}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}
