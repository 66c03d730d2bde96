"""How keys and sessions look. A prefix for secret scanners, a public id, 256 random bits."""

import re
import secrets
import string
from hashlib import sha256

ID_CHARS = 8
SECRET_BYTES = 32  # 43 characters
_ALPHABET = string.ascii_lowercase + string.digits
_KEY = re.compile(rf"vo_([a-z0-9]{{{ID_CHARS}}})_[A-Za-z0-9_-]{{43}}")


def new_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))


def new_key(id_: str) -> str:
    return f"vo_{id_}_{secrets.token_urlsafe(SECRET_BYTES)}"


def new_session() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: bytes) -> str:
    """256 random bits need no slow hash: a slow one would be a way to keep us busy."""
    return sha256(secret).hexdigest()


def id_in(key: str) -> str | None:
    """The public part of something that looks like a key; None if it does not."""
    match = _KEY.fullmatch(key)
    return None if match is None else match[1]
