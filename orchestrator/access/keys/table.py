"""All keys and sessions at one moment: an immutable value, looked up by digest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from orchestrator.access.keys.decision import Presented
from orchestrator.access.keys.form import digest_of
from orchestrator.access.keys.record import ApiKey, BrowserSession, FormerSecret
from orchestrator.access.keys.wish import descendants


@dataclass(frozen=True, slots=True)
class VramShare:
    """The most VRAM that some keys may hold together: one, and those that were made with it."""

    vram_mb: int
    keys: frozenset[str]


class KeyTable:
    """`generation` grows with every change; another number is another table."""

    def __init__(
        self,
        generation: int = 0,
        keys: Iterable[ApiKey] = (),
        sessions: Iterable[BrowserSession] = (),
    ) -> None:
        self.generation = generation
        self.keys: Mapping[str, ApiKey] = {key.id: key for key in keys}
        self.sessions: Mapping[str, BrowserSession] = {one.digest: one for one in sessions}
        self._shown: dict[str, Presented] = {}
        self._shares: dict[str, tuple[VramShare, ...]] = {}  # of keys that have asked
        for key in self.keys.values():
            if key.former is not None:
                self._shown[key.former.digest] = Presented(
                    key, key.former.ends_s, key.former.digest
                )
            self._shown[key.digest] = Presented(key, None, key.digest)

    @property
    def closed(self) -> bool:
        """Whether a request needs a key. Once there was one, it does: the last one's end must not
        open the doors.
        """
        return bool(self.keys)

    def shown(self, secret: bytes) -> Presented | None:
        return self._shown.get(digest_of(secret))

    def makers(self, key: ApiKey) -> tuple[ApiKey, ...]:
        """The key that it was made with, the one of that, and so on."""
        found: list[ApiKey] = []
        while (above := self.keys.get(key.created_by or "")) is not None and above not in found:
            found.append(above)
            key = above
        return tuple(found)

    def shares(self, key: ApiKey) -> tuple[VramShare, ...]:
        """The key's own bound of VRAM, and those of its makers, which it shares."""
        shares = self._shares.get(key.id)
        if shares is None:
            shares = self._shares[key.id] = tuple(
                VramShare(one.vram_mb, descendants(one.id, self.keys.values()))
                for one in (key, *self.makers(key))
                if one.vram_mb is not None
            )
        return shares

    def next_end_s(self, after_s: float) -> float | None:
        """When the next key, secret or session ends by its time; None: none will."""
        ends = [one.ends_s for one in self.sessions.values()]
        for key in self.keys.values():
            if key.expires_s is not None:
                ends.append(key.expires_s)
            if key.former is not None:
                ends.append(key.former.ends_s)
        return min((end_s for end_s in ends if end_s > after_s), default=None)

    def session(self, cookie: bytes, now_s: float) -> BrowserSession | None:
        session = self.sessions.get(digest_of(cookie))
        return session if session is not None and now_s < session.ends_s else None

    def of_session(self, session: BrowserSession) -> Presented | None:
        key = self.keys.get(session.key)
        return None if key is None else Presented(key, session.ends_s, session.digest)

    def has_ended(self, proof: str, now_s: float) -> bool:
        """Whether the secret or the session with this digest is good for nothing any more."""
        session = self.sessions.get(proof)
        shown = self._shown.get(proof) if session is None else self.of_session(session)
        if shown is None or shown.key.revoked_s is not None:
            return True
        ends = (shown.ends_s, shown.key.expires_s)
        return any(end_s is not None and end_s <= now_s for end_s in ends)


def rotated(key: ApiKey, digest: str, now_s: float, grace_s: float) -> ApiKey:
    """With another secret; the one of before is valid for the grace. Only one is kept."""
    former = FormerSecret(digest=key.digest, ends_s=now_s + grace_s) if grace_s > 0 else None
    return replace(key, digest=digest, former=former)


def revoked(id_: str, keys: Iterable[ApiKey], now_s: float) -> tuple[ApiKey, ...]:
    """What changes: the key ends at once, and so do those that were made with it."""
    known = tuple(keys)
    ending = descendants(id_, known)
    return tuple(
        replace(key, revoked_s=now_s, former=None)
        for key in known
        if key.id in ending and key.revoked_s is None
    )


def is_of(creator: str, id_: str, keys: Iterable[ApiKey]) -> bool:
    """Whether a key is that one, or was made with it or with what was made with it."""
    return id_ in descendants(creator, keys)
