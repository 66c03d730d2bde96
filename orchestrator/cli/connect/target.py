"""What a client is pointed at: an address, a key, and the model that it names first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

NO_KEY = "none"  # clients refuse to send no key; the daemon reads none where it has none
PLACEHOLDER = "MODEL"  # shown where nobody knows a name; never written
MODELS_MAX = 100  # listed in one client's settings
NO_CHAT = {"embedding", "embeddings", "rerank", "reranking", "speech", "transcription", "image"}
LOOPBACK = ("127.", "localhost", "::1")


class ModelUnknown(Exception):
    """The daemon has no model of that name."""


class KeyInvalid(Exception):
    """A key that no header can carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    url: str  # without a slash at its end
    key: str | None
    model: str | None  # None: no daemon answers, and none was named
    models: tuple[str, ...] = ()  # all of the daemon's that answer prompts, the first one first

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def shown_key(self) -> str:
        return self.key or NO_KEY

    @property
    def shown_model(self) -> str:
        return self.model or PLACEHOLDER

    @property
    def listed(self) -> tuple[str, ...]:
        return self.models[:MODELS_MAX] or (self.shown_model,)

    @property
    def is_on_this_machine(self) -> bool:
        return (urlsplit(self.url).hostname or "").startswith(LOOPBACK)


def checked_key(key: str | None) -> str | None:
    """Raise KeyInvalid."""
    if key is not None and not all("!" <= c <= "~" for c in key):
        raise KeyInvalid("A key has no spaces and no other characters than those of ASCII.")
    return key or None


def pointed(
    url: str, key: str | None, asked: str | None, catalogue: Sequence[Mapping[str, Any]] | None
) -> Target:
    """`catalogue` is None where no daemon answers. Raise ModelUnknown."""
    clean = url.rstrip("/")
    if catalogue is None:
        return Target(url=clean, key=key, model=asked, models=() if asked is None else (asked,))
    ranked = sorted(filter(_answers_prompts, catalogue), key=_rank)
    names = [str(entry["id"]) for entry in ranked]
    if asked is None:
        return Target(url=clean, key=key, model=next(iter(names), None), models=tuple(names))
    known = [name for entry in catalogue for name in (str(entry["id"]), *_aliases(entry))]
    if asked not in known and not asked.startswith("task:"):
        near = get_close_matches(asked, known)
        hint = f" Similar: {', '.join(near)}." if near else ""
        raise ModelUnknown(f"The daemon at {clean} has no model {asked!r}.{hint}")
    others = (name for name in names if name != asked)
    return Target(url=clean, key=key, model=asked, models=(asked, *others))


def _answers_prompts(entry: Mapping[str, Any]) -> bool:
    return not NO_CHAT & set(map(str, entry.get("tags") or ()))


def _rank(entry: Mapping[str, Any]) -> tuple[bool, int]:
    """Who is loaded first, then who matters most; else as the catalogue has them."""
    priority = entry.get("priority")
    return entry.get("state") != "loaded", -(priority if isinstance(priority, int) else 0)


def _aliases(entry: Mapping[str, Any]) -> Sequence[str]:
    return [str(alias) for alias in entry.get("aliases") or ()]
