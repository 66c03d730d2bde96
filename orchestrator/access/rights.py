"""What one caller may do: asked of by whatever carries out what it wants."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.access.caller import THE_DAEMON, Caller, Via
from orchestrator.access.keys.decision import NotAllowed, lacks, not_among, too_important, too_long
from orchestrator.access.keys.rates import Rates
from orchestrator.access.keys.record import ApiKey, KeyScope
from orchestrator.access.keys.table import KeyTable, VramShare


class Forbidden(Exception):
    """Raised to end what a caller may not do."""

    def __init__(self, why: NotAllowed) -> None:
        super().__init__(why.detail)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Without a key: no keys are configured, and everything is allowed."""

    caller: Caller
    key: ApiKey | None = None
    proof: str | None = None  # the digest of the secret that was shown, or of the session's cookie
    shares: tuple[VramShare, ...] = ()  # of VRAM: its key's bound, and those of its makers

    @property
    def is_admin(self) -> bool:
        return self.key is None or KeyScope.ADMIN in self.key.granted

    @property
    def id(self) -> str | None:
        """Of the key: to whom what it loads and leases belongs."""
        return None if self.key is None else self.key.id

    def over(self, table: KeyTable, now_s: float) -> bool:
        """Whether it has ended since it was granted: the key by its time or a revocation, its
        secret by a rotation, the session by a logout, or that all is open.
        """
        if self.key is None:
            return table.closed
        return self.proof is None or table.has_ended(self.proof, now_s)

    def has(self, scope: KeyScope) -> bool:
        return self.key is None or scope in self.key.granted

    def need(self, scope: KeyScope, why: str = "") -> None:
        """Raise Forbidden. `why` goes on the sentence that the key lacks the scope."""
        if self.key is not None and scope not in self.key.granted:
            raise Forbidden(lacks(self.key, scope, why))

    def may_ask_with(self, priority: int | None) -> None:
        """Raise Forbidden."""
        refused = None if self.key is None else too_important(self.key, priority)
        if refused is not None:
            raise Forbidden(refused)

    def may_lease_for(self, lease_s: float | None) -> None:
        """Raise Forbidden."""
        refused = None if self.key is None else too_long(self.key, lease_s)
        if refused is not None:
            raise Forbidden(refused)

    def may_name(self, model: str) -> None:
        """A model so, that there may not be yet. Raise Forbidden."""
        if self.key is not None and not self.key.sees(model):
            raise Forbidden(not_among(self.key, model))

    def sees(self, model: str) -> bool:
        return self.key is None or self.key.sees(model)

    @property
    def sees_all(self) -> bool:
        """Models, and what others have of them."""
        return self.is_admin and (self.key is None or self.key.models == ("*",))

    def owns(self, key: str | None) -> bool:
        """Whether what belongs to that key is its own, or an admin's to handle: of one of all
        models, since nobody may touch those that it does not see.
        """
        return self.sees_all or key == self.id


@contextmanager
def waiting(rights: Rights, rates: Rates | None) -> Iterator[None]:
    """Held while one of its requests waits for a model. Entering it raises Forbidden where as many
    do as may.
    """
    if rights.key is None or rates is None:
        yield
        return
    with rates.waits(rights.key) as refused:
        if refused is not None:
            raise Forbidden(refused)
        yield


EVERYTHING = Rights(caller=THE_DAEMON)  # of our own timers, and where there are no keys
# Of who shows no key at a public route.
NOTHING = Rights(
    caller=Caller(via=Via.HTTP),
    key=ApiKey(id="", digest="", name="", scopes=(), created_s=0.0, models=()),
)
