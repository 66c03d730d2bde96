"""Which scope every route of the web needs: the whole table on one page.

A route that is not in it is no route: `create_app` refuses to make an application with it.
"""

from collections.abc import Iterator, Mapping, Sequence

from fastapi.routing import APIRoute

from orchestrator.access.keys.record import KeyScope
from orchestrator.web.gate import ANY_KEY, PUBLIC, Rule

_READ, _LOAD = Rule(KeyScope.READ), Rule(KeyScope.LOAD)
_LEASE, _ADMIN = Rule(KeyScope.LEASE), Rule(KeyScope.ADMIN)
_POLLED = Rule(KeyScope.READ, counted=False)
_WHO = Rule(None, counted=False)

RULES: Mapping[tuple[str, str], Rule] = {
    ("GET", "/health"): PUBLIC,
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/api/health"): PUBLIC,
    ("GET", "/health/ready"): _POLLED,
    ("GET", "/readyz"): _POLLED,
    ("GET", "/models/status"): _POLLED,
    ("GET", "/events"): _POLLED,
    ("GET", "/metrics"): _POLLED,
    ("GET", "/models"): _READ,
    ("GET", "/models/{name}"): _READ,
    ("GET", "/v1/models"): _READ,
    ("GET", "/v1/models/{name}"): _READ,
    ("GET", "/devices"): _READ,
    ("GET", "/operations/{operation_id}"): _READ,
    ("GET", "/requests"): _READ,
    ("GET", "/requests/{request_id}"): _READ,
    ("GET", "/benchmarks"): _READ,
    ("GET", "/leases"): _READ,
    ("GET", "/vram/leases"): _READ,
    ("POST", "/models/plan"): _READ,
    ("POST", "/models/estimate"): _READ,  # of a file: admin
    ("POST", "/requests/{request_id}/cancel"): Rule(KeyScope.USE),  # of others: admin
    ("POST", "/models/load"): _LOAD,  # with a pin: admin; with an owner or for a time: lease
    ("POST", "/models/unload"): _LOAD,  # by force, or of what others have loaded: admin
    ("POST", "/models/{name}/benchmarks"): _LOAD,
    ("POST", "/vram/leases"): _LEASE,
    ("PUT", "/vram/leases/{lease_id}"): _LEASE,  # of others: admin
    ("DELETE", "/vram/leases/{lease_id}"): _LEASE,
    ("PUT", "/leases/{lease_id}"): _LEASE,
    ("DELETE", "/leases/{lease_id}"): _LEASE,
    ("GET", "/files"): _ADMIN,
    ("PUT", "/models/{name}"): _ADMIN,
    ("DELETE", "/models/{name}"): _ADMIN,
    ("PUT", "/models/{name}/pin"): _ADMIN,
    ("DELETE", "/models/{name}/pin"): _ADMIN,
    ("GET", "/models/{name}/logs"): _ADMIN,
    ("POST", "/admin/reload"): _ADMIN,
    ("GET", "/audit"): _ADMIN,
    ("GET", "/admin/daemon"): _ADMIN,
    ("GET", "/admin/jobs"): _ADMIN,
    ("PUT", "/devices/{device_id}/fake"): _ADMIN,
    # Keys and sessions.
    ("GET", "/auth/whoami"): _WHO,
    ("POST", "/session"): PUBLIC,  # with a key in its body
    ("DELETE", "/session"): _WHO,
    ("GET", "/keys"): _ADMIN,
    ("POST", "/keys"): _ADMIN,
    ("POST", "/keys/{key_id}/rotate"): _ADMIN,
    ("DELETE", "/keys/{key_id}"): _ADMIN,
    # Pages. What the dashboard shows, it asks for with its session.
    ("GET", "/"): PUBLIC,
    ("GET", "/dashboard/{asset}"): PUBLIC,
    ("GET", "/docs"): _READ,
    ("GET", "/docs/{asset}"): _READ,
    ("GET", "/openapi.json"): _READ,
    # For other tools.
    ("GET", "/models/sse"): _POLLED,
    ("GET", "/running"): _POLLED,
    ("POST", "/api/models/unload"): _LOAD,
    ("POST", "/api/models/unload/{name:path}"): _LOAD,
    ("GET", "/unload"): _READ,  # these say only what to do instead
    ("GET", "/models/load"): _READ,
    ("GET", "/models/unload"): _READ,
    ("GET", "/models/plan"): _READ,
    ("GET", "/models/estimate"): _READ,
}


class UnruledRoute(Exception):
    """A route was written and nobody said who may use it."""


def check(table: Sequence[APIRoute]) -> None:
    """Raise UnruledRoute."""
    if missing := sorted(set(_ways(table)) - set(RULES)):
        raise UnruledRoute(f"rest/scopes.py does not say who may use {missing}")


def rule_for(method: str, path: str, table: Sequence[APIRoute]) -> Rule:
    """What is no route is told only to callers with a key."""
    for route in table:
        if method in (route.methods or ()) and route.path_regex.match(path):
            return RULES[method, route.path]
    return ANY_KEY


def _ways(table: Sequence[APIRoute]) -> Iterator[tuple[str, str]]:
    for route in table:
        for method in route.methods or ():
            yield method, route.path
