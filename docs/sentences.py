"""Sentences about things that the code has no place to describe, from `sentences.yaml`."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("sentences.yaml")
_used: set[tuple[str, str]] = set()


class Unsaid(Exception):
    """Something is generated that no sentence explains."""


@cache
def _sentences() -> Mapping[str, Mapping[str, str]]:
    found: Mapping[str, Mapping[str, str]] = yaml.safe_load(FILE.read_text())
    return found


def sentence(group: str, *names: str) -> str:
    """The sentence of the first name that has one. Raise Unsaid."""
    for name in names:
        if name in _sentences()[group]:
            _used.add((group, name))
            return _sentences()[group][name]
    raise Unsaid(f"docs/sentences.yaml has no sentence under {group} for {' or '.join(names)}")


def unused() -> set[tuple[str, str]]:
    """Sentences that nothing has asked for yet: ask once everything has been generated."""
    return {(group, name) for group, each in _sentences().items() for name in each} - _used
