"""Puts the web together: routes, the guard round them, and the one error body.

Starting and stopping what stands behind it is the daemon's business.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from orchestrator.access.audit.log import Audit, NoAudit
from orchestrator.access.keys.store import KeysUnreadable
from orchestrator.access.rights import Forbidden
from orchestrator.cgroups import allowed_bytes
from orchestrator.config.sections import Dashboard, ServerSettings
from orchestrator.desk.desk import Desk
from orchestrator.errors import ConfigInvalid, Denied, Failed
from orchestrator.records import JobRecord
from orchestrator.web.ending import Ending
from orchestrator.web.gate import Gate, for_caller
from orchestrator.web.guard import Admission, Guard
from orchestrator.web.held_bodies import bytes_max
from orchestrator.web.live.cache import Board
from orchestrator.web.live.feed import Feed
from orchestrator.web.live.places import Places
from orchestrator.web.rest import (
    admin,
    audit,
    benchmarks,
    compat,
    dashboard,
    docs,
    events,
    leases,
    metrics,
    models,
    requests,
    scopes,
)
from orchestrator.web.rest import keys as key_routes
from orchestrator.web.rest.mistakes import error_of_config, error_of_validation
from orchestrator.web.wire.error_answers import (
    Answered,
    ErrorAnswer,
    WebCode,
    clip,
    error_of,
    error_of_access,
    respond,
)

log = logging.getLogger(__name__)

DESCRIPTION = """\
Which models live in VRAM, and makes it so. Sizes in fields that end in `_mb` are integers of
1024² bytes. Every error has the same body, with a stable `code` and a `remedy`. Write bodies
refuse unknown fields; numbers may be sent as strings.
"""

TAGS = (
    "models",
    "leases",
    "requests",
    "daemon",
    "keys",
    "events",
    "for other tools",
)  # in the order of the page


WAITING_MAX = 10_000  # callers at once, where the limit of open files is no matter


async def _no_figures() -> bytes:
    return b""


def create_app(
    desk: Desk,
    version: str = "0.1.0",
    *,
    waiting_max: int = WAITING_MAX,
    beside: Callable[[], Mapping[str, Any]] = dict,
    figures: Callable[[], Awaitable[bytes]] = _no_figures,
    audit_log: Audit | None = None,
    gate: Gate | None = None,
    jobs: Callable[[], Sequence[JobRecord]] = tuple,
) -> FastAPI:
    """The application. It holds no state of the daemon: every answer comes from the desk.

    `beside` are paths that others answer, for the OpenAPI document; `figures` is what Prometheus
    reads, `jobs` what happens at fixed intervals. Without a `gate` there are no keys. Raise
    UnruledRoute.
    """
    gate = gate or Gate(None)
    app = FastAPI(
        title="VRAM Orchestrator",
        version=version,
        description=DESCRIPTION,
        openapi_tags=[{"name": name} for name in TAGS],
        openapi_url=None,  # served by our own route
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect repeats a Host that the caller made up
    )
    board = Board(desk)
    app.state.desk = desk
    app.state.beside = beside
    app.state.figures = figures
    app.state.audit = audit_log or NoAudit()
    app.state.gate = gate
    app.state.jobs = jobs
    app.state.board = board
    places = Places(waiting_max)
    app.state.places = places
    app.state.feed = feed = Feed(desk, board, places)
    if (keys := gate.keys) is not None:
        keys.watch(lambda table: feed.hang_up(lambda held: held.over(table, keys.clock())))
    routers = _routers(fakes=desk.fake_devices is not None)
    for router in routers:
        app.include_router(router)
    table = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    scopes.check(table)
    app.add_middleware(
        Guard,
        gate=gate,
        rule_for=lambda method, path: scopes.rule_for(method, path, table),
        admission=lambda: admission_to(desk.config.server),
        exists=lambda path: any(route.path_regex.match(path) for route in table),
    )
    app.add_middleware(Ending)  # the outer one
    _explain_errors(app, table)
    # FastAPI puts off most of its work until the first request, which would wait for that, and
    # so would all that are served beside it.
    for route in app.routes:
        route.matches({"type": "http", "method": "GET", "path": "/", "headers": []})
    return app


def _routers(*, fakes: bool) -> list[APIRouter]:
    """In the order in which they are asked."""
    # compat first: /models/sse and the refused GETs are not names of models.
    routers = [compat.router, models.router, benchmarks.router, leases.router]
    routers += [requests.router, events.router, admin.router, audit.router, key_routes.router]
    routers.append(metrics.router)
    if fakes:
        routers.append(admin.fake_router)
    return [*routers, docs.router, dashboard.router]


# By these, containers reach the machine that they run on. No public DNS has them.
OF_CONTAINERS = ("host.docker.internal", "host.containers.internal")


@cache
def _own_name() -> str:
    return socket.gethostname().lower()


@lru_cache(maxsize=2)  # asked with every request
def admission_to(server: ServerSettings) -> Admission:
    """Whom the operator lets in."""
    return Admission(
        allowed_hosts=frozenset(
            (_own_name(), *OF_CONTAINERS, *map(str.lower, server.allowed_hosts))
        ),
        allowed_origins=frozenset(map(str.lower, server.allowed_origins)),
        own_pages=server.dashboard is not Dashboard.READ_ONLY,
        relayed_bytes_max=server.body_limit_bytes,
        held_bytes_max=max(held_bytes_max(server), server.body_limit_bytes),
    )


def held_bytes_max(server: ServerSettings) -> int:
    """What the operator says, else what fits the memory that this process may have."""
    return server.bodies_limit_bytes or bytes_max(allowed_bytes())


def _explain_errors(app: FastAPI, table: Sequence[APIRoute]) -> None:
    """Every way to fail, into the one error body. `table` holds the routes in their order."""

    @app.exception_handler(Answered)
    async def on_answered(request: Request, error: Answered) -> Response:
        return respond(for_caller(error.answer, request.scope), request.scope)

    @app.exception_handler(Denied)
    async def on_denied(request: Request, error: Denied) -> Response:
        return respond(for_caller(error_of(error.refusal), request.scope), request.scope)

    @app.exception_handler(Forbidden)
    async def on_forbidden(request: Request, error: Forbidden) -> Response:
        return respond(error_of_access(error.why), request.scope)

    @app.exception_handler(KeysUnreadable)
    async def on_keys(request: Request, error: KeysUnreadable) -> Response:
        log.error("%s", error)
        answer = ErrorAnswer(
            code=WebCode.UNAVAILABLE,
            detail="The file of keys cannot be written: nothing was changed.",
            remedy="The daemon's log says why.",
        )
        return respond(answer, request.scope)

    @app.exception_handler(ConfigInvalid)
    async def on_config(request: Request, error: ConfigInvalid) -> Response:
        return respond(for_caller(error_of_config(error), request.scope), request.scope)

    @app.exception_handler(Failed)
    async def on_failed(request: Request, error: Failed) -> Response:
        log.error("%s %s: %s", request.method, clip(request.scope["path"]), error)
        answer = ErrorAnswer(
            code=WebCode.UNAVAILABLE,
            detail="Something this answer needs does not work at the moment.",
            remedy="GET /health/ready says what; the daemon's log has the details.",
        )
        return respond(answer, request.scope)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        answer = error_of_validation(error, request.scope)
        return respond(for_caller(answer, request.scope), request.scope)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        return respond(_error_of_http(error, request, table), request.scope)

    @app.exception_handler(Exception)
    async def on_crash(request: Request, error: Exception) -> Response:
        # The server below logs the traceback; here it only gets its request.
        log.error("%s %s failed: %r", request.method, clip(request.scope["path"]), error)
        answer = ErrorAnswer(
            code=WebCode.INTERNAL,
            detail="The daemon made a mistake.",
            remedy="Its log has the details. Models that run are not affected.",
        )
        return respond(answer, request.scope)


def _error_of_http(
    error: HTTPException, request: Request, table: Sequence[APIRoute]
) -> ErrorAnswer:
    path = request.scope["path"]
    if error.status_code == 405:
        return compat.method_refused(path, methods_at(path, table))
    if error.status_code == 404:
        return ErrorAnswer(
            code=WebCode.NOT_FOUND,
            detail=f"There is no {clip(path)}.",
            remedy="GET /docs lists what is.",
        )
    return ErrorAnswer(code=WebCode.INVALID, detail=str(error.detail))


def methods_at(path: str, table: Sequence[APIRoute]) -> tuple[str, ...]:
    """Every method that does something at a path; routes that only refuse are left out."""
    shape = next((route.path for route in table if route.path_regex.match(path)), None)
    useful = (
        route for route in table if route.path == shape and route.endpoint is not compat.refuse_get
    )
    return tuple(sorted({method for route in useful for method in route.methods or ()}))
