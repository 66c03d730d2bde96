"""What API keys may hold, as a wish brings it along."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyBound:
    """The most that a key may hold, with the keys that were made with it: they share it."""

    limit_bytes: int
    keys: frozenset[str]
