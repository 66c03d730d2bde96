"""What health answers: a head that was read in, a whole HTTP response out.

It asks for no key and no name in `Host`, because pollers send neither (HAProxy speaks HTTP/1.0
without one, Kubernetes sends the address of the pod): a page that reaches it by a name of its own
learns that a daemon runs here and whether it is well, as it would by the port being open. So no
reason is told: they name devices, models and folders.
"""

import re
from http import HTTPStatus

from orchestrator.daemon.health.vital_signs import Stage, VitalSigns
from orchestrator.web.rest.admin import HEALTHY_BODY
from orchestrator.web.wire.error_answers import (
    MEANINGS,
    ErrorAnswer,
    WebCode,
    clip,
    encode,
    error_body,
    retry_after_s,
)

HEAD_BYTES_MAX = 8 << 10  # pollers send some hundred
ALIVE = frozenset({"/health", "/healthz"})
READY = frozenset({"/health/ready", "/readyz"})
METHODS = frozenset({"GET", "HEAD"})
READY_BODY = encode({"status": "ready"})
REQUEST_LINE = re.compile(r"([A-Z]{1,20}) (\S+) HTTP/1\.[01]\r?\n")
BEGINS = re.compile(rb"[A-Z]{1,20}( |$)")
ENDS = re.compile(rb"\n\r?\n")

TOO_SLOW = ErrorAnswer(
    code=WebCode.TOO_SLOW,
    detail="The request was not complete in time.",
    remedy="Send it at once.",
)


def answer_to(head: bytes, signs: VitalSigns) -> bytes | None:
    """None: more of it must come first, which may be `HEAD_BYTES_MAX` in all."""
    asked = REQUEST_LINE.match(head.decode("latin-1"))
    if not BEGINS.match(head) or (b"\n" in head and asked is None):
        return refused(_no_http())
    if len(head) > HEAD_BYTES_MAX:
        return refused(_too_large())
    if asked is None or not ENDS.search(head):
        return None
    method, path = asked[1], asked[2].partition("?")[0]
    error = _error_at(method, path, signs)
    if error is not None:
        return refused(error, path, head_alone=method == "HEAD")
    body = HEALTHY_BODY if path in ALIVE else READY_BODY
    return _response(HTTPStatus.OK, "OK", body, {}, head_alone=method == "HEAD")


def refused(error: ErrorAnswer, path: str = "", *, head_alone: bool = False) -> bytes:
    status, title = MEANINGS[error.code]
    headers = dict(error.headers)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(retry_after_s(error))
    return _response(status, title, encode(error_body(error, path)), headers, head_alone=head_alone)


def _error_at(method: str, path: str, signs: VitalSigns) -> ErrorAnswer | None:
    if path not in ALIVE | READY:
        return ErrorAnswer(
            code=WebCode.NOT_FOUND,
            detail=f"There is no {clip(path)} where health is told.",
            remedy="Here are /health and /health/ready; the rest is at server.port.",
        )
    if method not in METHODS:
        return ErrorAnswer(
            code=WebCode.METHOD_NOT_ALLOWED,
            detail=f"{method} does nothing at {path}.",
            remedy="Use GET or HEAD.",
            headers={"Allow": "GET, HEAD"},
        )
    if (hung_s := signs.hung_s) is not None:
        return ErrorAnswer(
            code=WebCode.LOOP_HANGS,
            detail=f"The daemon's event loop has not turned for {hung_s:.0f} s.",
            remedy="Restart the daemon if it stays so: models run on and are adopted.",
        )
    return None if path in ALIVE else _unready(signs)


def _unready(signs: VitalSigns) -> ErrorAnswer | None:
    match signs.stage:
        case Stage.STARTING:
            detail, remedy = "The daemon is starting.", "Wait until it serves."
        case Stage.ENDING:
            detail, remedy = "The daemon is ending.", "Ask again when it has been started anew."
        case Stage.SERVING if signs.able:
            return None
        case Stage.SERVING:
            detail = "The daemon cannot do its work at the moment."
            remedy = "GET /health/ready at server.port says why; what runs is served meanwhile."
    return ErrorAnswer(code=WebCode.NOT_READY, detail=detail, remedy=remedy)


def _no_http() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.BAD_REQUEST,
        detail="This is no HTTP request.",
        remedy="Health is told over plain HTTP/1.1: GET /health.",
    )


def _too_large() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.HEAD_TOO_LARGE,
        detail=f"The request line and the headers are larger than {HEAD_BYTES_MAX} bytes.",
        remedy="Send fewer headers: none is looked at.",
    )


def _response(
    status: int, title: str, body: bytes, headers: dict[str, str], *, head_alone: bool
) -> bytes:
    all_headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **headers,
    }
    lines = (f"HTTP/1.1 {status} {title}", *(f"{key}: {all_headers[key]}" for key in all_headers))
    head = "".join(f"{line}\r\n" for line in lines) + "\r\n"
    return head.encode() + (b"" if head_alone else body)
