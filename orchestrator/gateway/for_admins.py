"""Requests that change a llama-server for everybody who asks it: adapters, the files of its slots,
the models of a router, tools that it runs. They are for admins.

Told by its list of routes (build b11434): what is no question there is taken for such an order,
also what a newer build has. Of other programs nobody here knows which is which.
"""

from collections.abc import Mapping
from urllib.parse import unquote

from orchestrator.access.keys.decision import changes_for_all
from orchestrator.access.rights import Forbidden
from orchestrator.config.engines import kind_of
from orchestrator.config.sections import ServiceEntry
from orchestrator.core.values.specs import ModelSpec, ServiceName
from orchestrator.gateway.asked import Asked
from orchestrator.gateway.paths import DELETES, POSTS, NamedIn
from orchestrator.web.guard import READING_METHODS
from orchestrator.web.wire.error_answers import clip

# Beside the paths that the gateway has itself.
_POSTS = frozenset(
    {
        *("/chat/completions/input_tokens", "/responses", "/responses/input_tokens"),
        *("/audio/transcriptions", "/v1/systemone"),
        "/v1/chat/completions/control",  # whoever knows the id of an answer under way
    }
)
QUESTIONS: Mapping[str, frozenset[str]] = {
    "POST": _POSTS | POSTS.keys(),
    "DELETE": frozenset(DELETES),
}
ACTING_GETS = frozenset({"/cors-proxy"})  # it asks other machines
ADAPTERS = "/lora-adapters"
_SCALES = (
    "Order `lora_scales` with POST /models/load: the server is started anew with them. Or have a "
    "model of its own with other scales."
)


def is_order(method: str, path: str) -> bool:
    """Whether a llama-server that is asked so is changed by it. `path` as it was sent."""
    decoded = unquote(path)
    if "%" in decoded:  # the server may read more out of it than we do
        return True
    if method in READING_METHODS:
        return decoded in ACTING_GETS
    return decoded not in QUESTIONS.get(method, ())


def orders_for_all(
    asked: Asked, specs: tuple[ModelSpec, ...], services: Mapping[ServiceName, ServiceEntry]
) -> bool:
    """Whether it is an admin's order. Raise Forbidden where it is another's."""
    if asked.call.named_in is not NamedIn.PATH:
        return False
    path = asked.target.partition("?")[0]
    ordered = is_order(asked.method, path) and [
        spec
        for spec in specs
        if (service := services.get(spec.service)) is not None and kind_of(service).llama_routes
    ]
    if not ordered or asked.rights.is_admin:
        return bool(ordered)
    assert asked.rights.key is not None, "without keys everybody is an admin"
    remedy = _SCALES if unquote(path) == ADAPTERS else None
    what = f"{asked.method} {clip(path)}"
    raise Forbidden(changes_for_all(asked.rights.key, what, ordered[0].name, remedy))
