"""Round everything but the relay: an act leaves one line, however its request ends.

What is no admin's is written when it is answered, with what came of it. An admin's is written
before it is performed (`before_acting`), and is not if that cannot be; where it comes to nothing, a
second line says so.
"""

import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.access.audit.lines import Act, ActOutcome
from orchestrator.access.audit.log import Audit
from orchestrator.access.caller import Caller
from orchestrator.access.keys.decision import NotAllowed
from orchestrator.access.rights import Rights
from orchestrator.errors import AuditUnavailable
from orchestrator.web.acts import ActKind, Values, find_act, numbers_of, target_of
from orchestrator.web.gate import RIGHTS, caller_of
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode

FOLD_S = 60.0
FOLDED_MAX = 1024  # callers and targets that are remembered
ERROR_BYTES_MAX = 64 << 10  # of an answer in which the code is looked for
NO_ANSWER = "client_gone"  # the caller has left, or the daemon ended
FAILED = frozenset({500, 502})
REQUEST_ID = b"x-request-id"

_running: ContextVar["Acting | None"] = ContextVar("acting", default=None)


class Audited:
    def __init__(
        self, app: ASGIApp, audit: Audit, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._audit = audit
        self._clock = clock
        self._folded: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = find_act(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if kind is None:
            await self._app(scope, receive, send)
            return
        acting = Acting(self._audit, kind, scope)
        set_before = _running.set(acting)
        try:
            await self._app(scope, receive, acting.noting(send))
        finally:
            _running.reset(set_before)
            if not (kind.folded and self._is_folded(acting.caller, acting.target)):
                acting.end()

    def turned_away(self, caller: Caller, refused: NotAllowed) -> None:
        """By the gate: one line a minute for each caller. An act's own line says it already."""
        if (acting := _running.get()) is not None:
            acting.turned_away = caller
        elif not self._is_folded(caller, str(refused.code)):
            act = Act(
                action="auth.refuse",
                caller=caller,
                outcome=ActOutcome.REFUSED,
                code=str(refused.code),
            )
            self._audit.note(act)

    def _is_folded(self, caller: Caller, what: str) -> bool:
        key, now_s = (caller.identity, what), self._clock()
        if now_s - self._folded.get(key, -FOLD_S) < FOLD_S:
            return True
        self._folded[key] = now_s
        self._folded.move_to_end(key)
        if len(self._folded) > FOLDED_MAX:
            self._folded.popitem(last=False)
        return False


class Acting:
    """One request that acts, until it is answered."""

    def __init__(self, audit: Audit, kind: ActKind, scope: Scope) -> None:
        self.turned_away: Caller | None = None
        self._scope = scope
        self.target = scope["path"]  # until it is understood
        self._audit = audit
        self._kind = kind
        self._id = uuid.uuid4().hex[:16]
        self._numbers: dict[str, int | float] = {}
        self._seq: int | None = None
        self._status: int | None = None
        self._code: str | None = None

    @property
    def caller(self) -> Caller:
        """With its key, once that was looked at."""
        rights: Rights | None = self._scope.get(RIGHTS)
        if rights is not None:
            return rights.caller
        return self.turned_away or caller_of(self._scope)

    async def let_through(self, values: Values) -> None:
        """Raise Answered: what an admin wants cannot be written, and must not be done."""
        self.target = target_of(values) or self.target
        self._numbers = numbers_of(values)
        if not self._kind.by_admin(values):
            return
        try:
            self._seq = await self._audit.durable(self._act(ActOutcome.GRANTED))
        except AuditUnavailable as error:
            raise Answered(_unavailable(error)) from error

    def noting(self, send: Send) -> Send:
        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                headers = [*message.get("headers", ()), (REQUEST_ID, self._id.encode())]
                message = {**message, "headers": headers}
            elif self._status is not None and self._status >= 400 and self._code is None:
                self._code = _code_in(message.get("body", b"")) or str(self._status)
            await send(message)

        return send_noted

    def end(self) -> None:
        outcome, code = self._came_to()
        if self._seq is None:
            self._audit.note(self._act(outcome, code))
        elif outcome is not ActOutcome.GRANTED:
            self._audit.note(self._act(outcome, code, of=self._seq))

    def _came_to(self) -> tuple[ActOutcome, str | None]:
        if self._status is None:
            return ActOutcome.FAILED, NO_ANSWER
        if self._status < 400:
            return ActOutcome.GRANTED, None
        outcome = ActOutcome.FAILED if self._status in FAILED else ActOutcome.REFUSED
        return outcome, self._code

    def _act(self, outcome: ActOutcome, code: str | None = None, *, of: int | None = None) -> Act:
        return Act(
            action=self._kind.action,
            caller=self.caller,
            outcome=outcome,
            target=self.target,
            code=code,
            request_id=self._id,
            numbers=self._numbers,
            of=of,
        )


async def before_acting(values: Values) -> None:
    """To be awaited when a request is understood and before anything is done for it."""
    acting = _running.get()
    if acting is not None:
        await acting.let_through(values)


def _code_in(body: bytes) -> str | None:
    if len(body) > ERROR_BYTES_MAX:
        return None
    try:
        code = json.loads(body)["code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return code if isinstance(code, str) else None


def _unavailable(error: AuditUnavailable) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.AUDIT_UNAVAILABLE,
        detail=f"This was not done, because it cannot be written down: {error}.",
        remedy="Make room in state_dir, or mend its disk. Models are served meanwhile.",
    )
