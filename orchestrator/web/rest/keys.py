"""API keys: who asks, logins of browsers, and keys made, rotated and revoked."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from orchestrator.access.keys.acts import TooManyKeys, UnknownKey
from orchestrator.access.keys.decision import AccessCode, NotAllowed, decide, unauthorized
from orchestrator.access.keys.keys import Keys
from orchestrator.access.keys.table import is_of
from orchestrator.access.keys.wish import KeyWish, LoginOrder, RotateOrder, seconds_in
from orchestrator.access.rights import Forbidden
from orchestrator.web.audited import done_by
from orchestrator.web.gate import COOKIE, cookie_in
from orchestrator.web.rest.docs import EVERY_WRITE, answers, error_responses
from orchestrator.web.rest.parsing import JsonRoute
from orchestrator.web.rest.responses import NO_CONTENT, RightsOf, answer, not_found
from orchestrator.web.wire import key_shapes
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode

router = APIRouter(tags=["keys"], route_class=JsonRoute)

KeyPath = Annotated[str, Path(min_length=1, max_length=64, examples=["k3v9x2mq"])]
REMEDY = "`orchestrator keys list` shows those there are."


def _keys_of(request: Request) -> Keys:
    """Raise Answered where this daemon was made without any."""
    keys: Keys | None = request.app.state.gate.keys
    if keys is None:
        raise Answered(ErrorAnswer(code=WebCode.UNAVAILABLE, detail="This daemon keeps no keys."))
    return keys


@router.get(
    "/auth/whoami",
    summary="Whose key this is, and what it may do",
    responses=answers(key_shapes.WhoAmI, key_shapes.WHO),
)
async def whoami(rights: RightsOf) -> Response:
    """`id` is null where there are no keys: everybody who reaches the daemon may do everything."""
    return answer(key_shapes.who(rights.key))


@router.post(
    "/session",
    summary="Log a browser in",
    status_code=NO_CONTENT,
    responses=error_responses(*EVERY_WRITE, 503),
)
async def log_in(order: LoginOrder, request: Request, rights: RightsOf) -> Response:
    """Sets a cookie that stands for the key, for twelve hours or until the key ends."""
    keys = _keys_of(request)
    shown = await keys.shown(order.key.strip().encode())
    address = rights.caller.address
    if shown is None:
        raise Forbidden(unauthorized())
    done_by(replace(rights.caller, key=shown.key.id))
    refused = decide(shown, None, now_s=keys.clock(), address=address)
    refused = refused or keys.ask(shown.key)
    if refused is not None:
        raise Forbidden(refused)
    cookie, session = await keys.log_in(shown)
    done_by(replace(rights.caller, key=shown.key.id, session=session.mark))
    response = Response(status_code=NO_CONTENT)
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=max(0, int(session.ends_s - keys.clock())),
        path="/",
        secure=_by_tls(request),
        httponly=True,
        samesite="strict",
    )
    return response


def _by_tls(request: Request) -> bool:
    """Also where it ends before us: a browser says by which scheme its page came."""
    by_page = request.headers.get("origin", "").startswith("https://")
    return by_page or request.scope["scheme"] == "https"


@router.delete(
    "/session",
    summary="Log a browser out",
    status_code=NO_CONTENT,
    responses=error_responses(*EVERY_WRITE, 503),
)
async def log_out(request: Request) -> Response:
    """Logging out twice is not an error."""
    keys = _keys_of(request)
    cookie = cookie_in(request.scope["headers"])
    found = None if cookie is None else await keys.session(cookie)
    if found is not None:
        await keys.log_out(found[0])
    response = Response(status_code=NO_CONTENT)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


@router.get(
    "/keys",
    summary="The keys, without their secrets",
    responses=answers(key_shapes.KeyList, key_shapes.KEYS, 503),
)
async def list_keys(request: Request) -> Response:
    """Revoked ones too, and those whose time is over."""
    keys = _keys_of(request)
    now_s = keys.clock()
    return answer({"keys": [key_shapes.key(one, now_s) for one in keys.table.keys.values()]})


@router.post(
    "/keys",
    summary="Make a key",
    status_code=201,
    responses=answers(key_shapes.MadeKey, key_shapes.MADE, *EVERY_WRITE, 409, 503, status=201),
)
async def create(order: KeyWish, request: Request, rights: RightsOf) -> Response:
    """`key` is shown this once and kept nowhere. No key exceeds the one that makes it."""
    keys = _keys_of(request)
    try:
        new = await keys.create(order, rights.key)
    except TooManyKeys as error:
        detail = f"No key was made: {error}."
        raise Answered(ErrorAnswer(code="conflict", detail=detail)) from error
    if isinstance(new, NotAllowed):
        raise Forbidden(new)
    return answer(key_shapes.made(new, keys.clock()), 201)


@router.post(
    "/keys/{key_id}/rotate",
    summary="Give a key another secret",
    responses=answers(key_shapes.MadeKey, key_shapes.MADE, *EVERY_WRITE, 404, 503),
)
async def rotate(
    key_id: KeyPath, order: RotateOrder, request: Request, rights: RightsOf
) -> Response:
    """The one of before is valid for `grace` beside it. Only of itself, and of keys made by it:
    whoever rotates a key has it.
    """
    keys = _keys_of(request)
    known = keys.table.keys
    if key_id not in known:
        raise not_found("key", key_id, REMEDY)
    if rights.key is not None and not is_of(rights.key.id, key_id, known.values()):
        raise Forbidden(
            NotAllowed(
                code=AccessCode.FORBIDDEN,
                detail=f"The key {key_id} was not made by yours; whoever rotates a key has it.",
                remedy="Rotate it on the daemon's machine with --config, or revoke it.",
            )
        )
    try:
        new = await keys.rotate(key_id, seconds_in(order.grace))
    except UnknownKey:
        raise not_found("key", key_id, REMEDY) from None
    return answer(key_shapes.made(new, keys.clock()))


@router.delete(
    "/keys/{key_id}",
    summary="Revoke a key",
    responses=answers(key_shapes.Revoked, key_shapes.REVOKED, *EVERY_WRITE, 404, 503),
)
async def revoke(key_id: KeyPath, request: Request) -> Response:
    """At once, with its sessions and all keys that were made by it."""
    try:
        ended = await _keys_of(request).revoke(key_id)
    except UnknownKey:
        raise not_found("key", key_id, REMEDY) from None
    return answer({"revoked": [key.id for key in ended]})
