"""How keys and sessions look. A prefix for secret scanners, a public id, 256 random bits."""

import secrets
import string
from hashlib import sha256

ID_CHARS = 8
SECRET_BYTES = 32  # 43 characters
_ALPHABET = string.ascii_lowercase + string.digits


def new_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(ID_CHARS))


def new_key(id_: str) -> str:
    return f"vo_{id_}_{secrets.token_urlsafe(SECRET_BYTES)}"


def new_session() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: bytes) -> str:
    """256 random bits need no slow hash: a slow one would be a way to keep us busy."""
    return sha256(secret).hexdigest()
