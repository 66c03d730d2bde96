"""Settings put into a TOML file: its lines stay where and as they are, comments included."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from orchestrator.cli.connect.merging import NotMerged

Texts = Mapping[str, str | None]  # None: it must not be there

_HEADER = re.compile(r"^\s*\[")
_STRING = r"\"(?:[^\"\\]|\\.)*\"|'[^']*'"


def merged_toml(text: str, root: Texts, table: Sequence[str], values: Texts) -> str:
    """Keys of the root, and of one table. Raise NotMerged."""
    old = _toml_of(text)
    expected = deepcopy(old)
    _set(expected, root)
    _set(_table_in(expected, table), values)
    lines = text.removesuffix("\n").split("\n") if text else []
    top = next((at for at, line in enumerate(lines) if _HEADER.match(line)), len(lines))
    head, rest = _keys_set(lines[:top], root), lines[top:]
    header = "[" + ".".join(_key(name) for name in table) + "]"
    at = next((at for at, line in enumerate(rest) if _names(line, table)), None)
    if at is None:
        rest = [*rest, *([""] if head or rest else []), header, *_keys_set([], values)]
    else:
        following = range(at + 1, len(rest))
        end = next((each for each in following if _HEADER.match(rest[each])), len(rest))
        rest = [*rest[: at + 1], *_keys_set(rest[at + 1 : end], values), *rest[end:]]
    new = "\n".join([*head, *rest]) + "\n"
    try:
        reached = tomllib.loads(new) == expected
    except tomllib.TOMLDecodeError:
        reached = False
    if not reached:
        raise NotMerged("it is written in a way that cannot be changed line by line")
    return new


def _toml_of(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise NotMerged(f"it is not TOML: {error}") from error


def _table_in(document: dict[str, Any], table: Sequence[str]) -> dict[str, Any]:
    here = document
    for name in table:
        here = here.setdefault(name, {})
        if not isinstance(here, dict):
            raise NotMerged(f"its `{name}` is no table")
    return here


def _set(here: dict[str, Any], values: Texts) -> None:
    for name, value in values.items():
        if value is None:
            here.pop(name, None)
        else:
            here[name] = value


def _keys_set(lines: Sequence[str], values: Texts) -> list[str]:
    """Each on the line that it has; new ones after the last line that says something."""
    made = list(lines)
    for name, value in values.items():
        key = rf"^(\s*(?:{re.escape(name)}|\"{re.escape(name)}\")\s*=\s*)(?:{_STRING})(.*)$"
        at = next((at for at, line in enumerate(made) if re.match(key, line)), None)
        if at is None:
            if value is not None:
                made.insert(_end(made), f"{_key(name)} = {_quoted(value)}")
        elif value is None:
            del made[at]
        else:
            made[at] = _replaced(key, made[at], value)
    return made


def _end(lines: Sequence[str]) -> int:
    return next((at + 1 for at in reversed(range(len(lines))) if lines[at].strip()), 0)


def _names(line: str, table: Sequence[str]) -> bool:
    """Whether the line is the header of the table."""
    names = r"\s*\.\s*".join(rf"(?:{re.escape(name)}|\"{re.escape(name)}\")" for name in table)
    return re.match(rf"^\s*\[\s*{names}\s*\]\s*(?:#.*)?$", line) is not None


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _quoted(name)


def _quoted(text: str) -> str:
    """TOML's basic strings take the escapes of JSON's."""
    return json.dumps(text, ensure_ascii=False)


def _replaced(key: str, line: str, value: str) -> str:
    found = re.match(key, line)
    assert found is not None, "the line was found by this key"
    return f"{found[1]}{_quoted(value)}{found[2]}"
