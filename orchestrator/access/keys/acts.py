"""What is done to keys, by the daemon and by the command line beside it: one commit each."""

from dataclasses import dataclass, replace

from orchestrator.access.keys.decision import NotAllowed, Presented
from orchestrator.access.keys.form import digest_of, new_id, new_key, new_session
from orchestrator.access.keys.record import ApiKey, BrowserSession
from orchestrator.access.keys.store import KeyChange, KeyFile
from orchestrator.access.keys.table import KeyTable, revoked, rotated
from orchestrator.access.keys.wish import KeyWish, made

SESSION_S = 12 * 3600.0
KEYS_MAX = 10_000  # revoked ones included


class UnknownKey(LookupError):
    """There is no such key, or it was revoked."""


class TooManyKeys(Exception):
    """So many were made that one more would slow down every start."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key with its secret, which is shown once and kept nowhere."""

    record: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"NewKey({self.record.id})"


def create(
    file: KeyFile, wish: KeyWish, now_s: float, creator: ApiKey | None = None
) -> tuple[NewKey | NotAllowed, KeyTable]:
    """It is on the disk when it is told. Raise KeysUnreadable or TooManyKeys."""

    def decide(table: KeyTable) -> tuple[NewKey | NotAllowed, KeyChange]:
        if len(table.keys) >= KEYS_MAX:
            raise TooManyKeys(f"there are {KEYS_MAX} keys, those that were revoked included")
        id_ = next(one for one in iter(new_id, "") if one not in table.keys)
        secret = new_key(id_)
        digest = digest_of(secret.encode())
        known = None if creator is None else table.keys.get(creator.id, creator)
        record = made(wish, id_=id_, digest=digest, now_s=now_s, creator=known)
        if isinstance(record, NotAllowed):
            return record, KeyChange()
        return NewKey(record, secret), KeyChange(put=(record,))

    return file.change(decide)


def rotate(file: KeyFile, id_: str, now_s: float, grace_s: float) -> tuple[NewKey, KeyTable]:
    """Raise UnknownKey or KeysUnreadable."""

    def decide(table: KeyTable) -> tuple[NewKey, KeyChange]:
        secret = new_key(id_)
        record = rotated(_valid(table, id_), digest_of(secret.encode()), now_s, grace_s)
        ends_s = now_s + grace_s  # of logins, too: they were made with the secret of before
        logins = [
            replace(one, ends_s=min(one.ends_s, ends_s))
            for one in table.sessions.values()
            if one.key == id_
        ]
        return NewKey(record, secret), KeyChange(put=(record,), sessions=logins)

    return file.change(decide)


def revoke(file: KeyFile, id_: str, now_s: float) -> tuple[tuple[ApiKey, ...], KeyTable]:
    """The keys that ended: it, and those that were made with it. Their sessions end with them.

    Raise UnknownKey where it is not known, or was revoked before; or KeysUnreadable.
    """

    def decide(table: KeyTable) -> tuple[tuple[ApiKey, ...], KeyChange]:
        _valid(table, id_)
        ended = revoked(id_, table.keys.values(), now_s)
        ids = {key.id for key in ended}
        sessions = [one.digest for one in table.sessions.values() if one.key in ids]
        return ended, KeyChange(put=ended, ended=sessions)

    return file.change(decide)


def log_in(
    file: KeyFile, shown: Presented, now_s: float
) -> tuple[tuple[str, BrowserSession], KeyTable]:
    """A cookie's value with its session. It ends with what it was got by. Raise KeysUnreadable."""
    cookie = new_session()
    ends = [now_s + SESSION_S, shown.ends_s, shown.key.expires_s]
    session = BrowserSession(
        digest=digest_of(cookie.encode()),
        key=shown.key.id,
        ends_s=min(end_s for end_s in ends if end_s is not None),
    )

    def decide(table: KeyTable) -> tuple[tuple[str, BrowserSession], KeyChange]:
        over = [one.digest for one in table.sessions.values() if one.ends_s <= now_s]
        return (cookie, session), KeyChange(sessions=(session,), ended=over)

    return file.change(decide)


def log_out(file: KeyFile, session: BrowserSession) -> tuple[None, KeyTable]:
    """Ending what has ended is not an error. Raise KeysUnreadable."""
    return file.change(lambda _: (None, KeyChange(ended=(session.digest,))))


def _valid(table: KeyTable, id_: str) -> ApiKey:
    key = table.keys.get(id_)
    if key is None or key.revoked_s is not None:
        raise UnknownKey(id_)
    return key
