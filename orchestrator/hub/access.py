"""Where models come from and where they go, as every program that knows a hub is told it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    home: Path  # of the cache
    endpoint: str = ENDPOINT
    token: str | None = field(default=None, repr=False)


def access_from(environ: Mapping[str, str]) -> Access:
    """By HF_HOME, HF_ENDPOINT and HF_TOKEN, or what other programs take where these are not set."""
    return Access(
        home=_home(environ),
        endpoint=environ.get("HF_ENDPOINT") or ENDPOINT,
        token=environ.get("HF_TOKEN", "").strip() or None,
    )


def _home(environ: Mapping[str, str]) -> Path:
    if named := environ.get("HF_HOME", ""):
        return Path(named).expanduser()
    caches = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or "~") / ".cache"
    return Path(caches).expanduser() / "huggingface"
