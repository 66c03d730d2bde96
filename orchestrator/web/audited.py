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
from dataclasses import dataclass

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
FOLDED_MAX = 1024  # callers with what they wanted that are remembered
UNPROVEN = frozenset({401, 429})  # nobody whose acts are to be told one by one
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
        self._folded: OrderedDict[tuple[str, str], _Fold] = OrderedDict()

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
            folded_by = acting.folded_by
            times = 1 if folded_by is None else self._times(acting.caller, folded_by)
            if times:
                acting.end(times)

    def turned_away(self, caller: Caller, refused: NotAllowed, path: str) -> None:
        """By the gate. An act's own line says it already."""
        if (acting := _running.get()) is not None:
            acting.turned_away = caller
        else:
            self.note_refused(caller, str(refused.code), path)

    def note_refused(self, caller: Caller, code: str, target: str) -> None:
        """What is no act: one line a minute for each caller and code."""
        if times := self._times(caller, code):
            act = Act(
                action="auth.refuse",
                caller=caller,
                outcome=ActOutcome.REFUSED,
                target=target,
                code=code,
                numbers=_repeated(times),
            )
            self._audit.note(act)

    def _times(self, caller: Caller, what: str) -> int:
        """For how many a line is due: 0 within a minute of the last one."""
        key, now_s = (caller.identity, what), self._clock()
        fold = self._folded.get(key)
        if fold is None:
            fold = self._folded[key] = _Fold()
            if len(self._folded) > FOLDED_MAX:
                self._folded.popitem(last=False)
        fold.times += 1
        if now_s - fold.told_s < FOLD_S:
            return 0
        times, fold.times, fold.told_s = fold.times, 0, now_s
        self._folded.move_to_end(key)
        return times


@dataclass(slots=True)
class _Fold:
    told_s: float = -FOLD_S
    times: int = 0  # since then


class Acting:
    """One request that acts, until it is answered."""

    def __init__(self, audit: Audit, kind: ActKind, scope: Scope) -> None:
        self.turned_away: Caller | None = None
        self.proved: Caller | None = None  # by the act itself: a login
        self._scope = scope
        self.target: str = scope["path"]  # until it is understood
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
        if self.proved is not None:
            return self.proved
        rights: Rights | None = self._scope.get(RIGHTS)
        if rights is not None:
            return rights.caller
        return self.turned_away or caller_of(self._scope)

    @property
    def folded_by(self) -> str | None:
        """What of one caller's is told once a minute; None: each is a line of its own."""
        if self._kind.folded:
            return self.target
        if self._seq is None and self._status is not None and self._status >= 400:
            unproven = self._status in UNPROVEN or RIGHTS not in self._scope
            if unproven or self.turned_away is not None:
                return f"{self._kind.action} {self._code or self._status}"
        return None

    async def let_through(self, values: Values) -> None:
        """Raise Answered: what an admin wants cannot be written, and must not be done."""
        self.target = target_of(values) or self.target
        self._numbers = numbers_of(values)
        if not self._kind.by_admin(values):
            return
        self._seq = await before_done(self._audit, self._act(ActOutcome.GRANTED))

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

    def end(self, times: int = 1) -> None:
        """`times`: this one, and those before it that have no line."""
        self._numbers = {**self._numbers, **_repeated(times)}
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


async def before_done(audit: Audit, act: Act) -> int | None:
    """The number of its line. Raise Answered: it cannot be written, and must not be done."""
    try:
        return await audit.durable(act)
    except AuditUnavailable as error:
        raise Answered(_unavailable(error)) from error


def done_by(caller: Caller) -> None:
    """Of an act by which a caller has proved who it is."""
    acting = _running.get()
    if acting is not None:
        acting.proved = caller


def _repeated(times: int) -> dict[str, int | float]:
    return {"times": times} if times > 1 else {}


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
