"""Who asks, and whether this route is open to them: by the key, or by the session of a browser.

Decided from the headers and `scope["path"]`, before a body is read. Which scope a route needs is
said by the table of its kind: `rest/scopes.py`, and the gateway's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from starlette.types import Scope

from orchestrator.access.caller import Caller, Via
from orchestrator.access.keys.decision import NotAllowed, Presented, decide, plain_address
from orchestrator.access.keys.keys import Keys
from orchestrator.access.keys.record import BrowserSession, KeyScope
from orchestrator.access.rights import NOTHING, Rights
from orchestrator.web.connection import CALLER
from orchestrator.web.wire.error_answers import ErrorAnswer

RIGHTS = "vram_orchestrator.rights"  # in the scope of every request that was let in
REFUSED = (
    "vram_orchestrator.refused"  # in that of one that was refused later, for its key: the code
)
COOKIE = "vo_session"
ADDRESSES_KEPT_MAX = 1024  # as they are written
_COOKIE = COOKIE.encode()
_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"cookie"})
_NO_KEY = b"-"  # something was shown that is none


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route asks of its caller. `scope` None: any valid key will do."""

    scope: KeyScope | None
    public: bool = False
    counted: bool = True  # among the requests a minute: what is polled or streamed is not


PUBLIC = Rule(None, public=True, counted=False)
ANY_KEY = Rule(None)


TurnedAway = Callable[[Caller, NotAllowed, str], None]


def _nobody_hears(_caller: Caller, _refused: NotAllowed, _path: str) -> None:
    """Of a gate without an audit log."""


class Gate:
    """Without keys it is open to everybody who reaches it."""

    def __init__(self, keys: Keys | None) -> None:
        self.keys = keys
        self.turned_away: TurnedAway = _nobody_hears

    async def admit(self, scope: Scope, rule: Rule) -> NotAllowed | None:
        """Why the caller is turned away; None: its rights stand in the scope."""
        caller = caller_of(scope)
        if self.keys is None or not self.keys.closed:
            scope[RIGHTS] = Rights(caller=caller)
            return None
        if rule.public:
            scope[RIGHTS] = replace(NOTHING, caller=caller)
            return None
        shown, session = await self._shown(self.keys, scope["headers"])
        now_s = self.keys.clock()
        refused = decide(shown, rule.scope, now_s=now_s, address=caller.address)
        if refused is not None:
            self.turned_away(_known(caller, shown), refused, scope["path"])
            return refused
        assert shown is not None, "what shows no key is refused"
        key = shown.key
        if rule.counted and (refused := self.keys.ask(key)) is not None:
            self.turned_away(_known(caller, shown), refused, scope["path"])
            return refused
        mark = None if session is None else session.mark
        who = Caller(key=key.id, session=mark, address=caller.address, via=caller.via)
        shares = self.keys.table.shares(key)
        scope[RIGHTS] = Rights(caller=who, key=key, proof=shown.digest, shares=shares)
        return None

    async def _shown(
        self, keys: Keys, headers: list[tuple[bytes, bytes]]
    ) -> tuple[Presented | None, BrowserSession | None]:
        """A key that is shown counts, also where a cookie stands beside it."""
        said = [header for header in headers if header[0] in _CREDENTIALS]
        for secret in (_bearer(said), _lone(said, b"x-api-key")):
            if secret is not None:
                return await keys.shown(secret), None
        cookie = cookie_in(said)
        found = None if cookie is None else await keys.session(cookie)
        return (None, None) if found is None else (found[1], found[0])


def rights_of(scope: Scope) -> Rights:
    """Of a request that was let in; there are no others."""
    rights: Rights = scope[RIGHTS]
    return rights


def for_caller(answer: ErrorAnswer, scope: Scope) -> ErrorAnswer:
    """As its caller may hear it: where files lie is an admin's business."""
    rights: Rights | None = scope.get(RIGHTS)
    return answer if rights is None or rights.is_admin else answer.without_folders()


def cookie_in(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """The session's, if there is one."""
    for name, value in headers:
        if name == b"cookie":
            for part in value.split(b";"):
                named, _, said = part.strip().partition(b"=")
                if named == _COOKIE:
                    return said
    return None


def _bearer(said: list[tuple[bytes, bytes]]) -> bytes | None:
    value = _lone(said, b"authorization")
    if value is None:
        return None
    kind, _, secret = value.partition(b" ")
    return secret.strip(b" \t") if kind.lower() == b"bearer" else _NO_KEY


def _lone(said: list[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    """Of a header that stands there twice nobody can say which one counts."""
    values = [value for name, value in said if name == wanted]
    if not values:
        return None
    return values[0].strip(b" \t") if len(values) == 1 else _NO_KEY


def _known(caller: Caller, shown: Presented | None) -> Caller:
    """With the key that was shown, where it is one of ours."""
    return caller if shown is None else replace(caller, key=shown.key.id)


def caller_of(scope: Scope) -> Caller:
    """Who asks, as far as the connection tells."""
    connection = scope.get("extensions", {}).get(CALLER, {}).get("connection")
    via = Via.EDGE if connection is not None and connection.from_edge else Via.HTTP
    client = scope.get("client")
    return Caller(address=_address(client[0]) if client else None, via=via)


@lru_cache(maxsize=ADDRESSES_KEPT_MAX)  # a caller asks more than once
def _address(said: str) -> str | None:
    try:
        return str(plain_address(said))
    except ValueError:
        return None
