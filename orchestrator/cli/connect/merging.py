"""Settings put into a file that exists: what else stands in it stays as it is.

Every merge is checked: what was made is read again, and must say what the old file said with the
new settings in it, and nothing else. Where that cannot be reached the file is left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]


class NotMerged(Exception):
    """The file cannot take the settings without a risk for what it has; the text says why."""


# --- JSON ------------------------------------------------------------------------------------


def merged_json(text: str, settings: Values) -> str:
    """Objects are merged, everything else is replaced. Raise NotMerged."""
    old = _json_of(text) if text.strip() else {}
    if not isinstance(old, dict):
        raise NotMerged("it is JSON, but no object")
    return dumped_json(merged_objects(old, settings))


def merged_json_list(text: str, items: list[dict[str, Any]], identity: str) -> str:
    """Items of the same identity are merged, the others stay. Raise NotMerged."""
    old = _json_of(text) if text.strip() else []
    if not isinstance(old, list):
        raise NotMerged("it is JSON, but no list")
    new = {item[identity]: item for item in items}
    kept = []
    for item in old:
        name = item.get(identity) if isinstance(item, dict) else None
        ours = new.pop(name, None) if isinstance(name, str) else None
        kept.append(item if ours is None else merged_objects(item, ours))
    return dumped_json([*kept, *new.values()])


def dumped_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _json_of(text: str) -> Any:
    def without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise NotMerged("an object in it has a key twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=without_doubles)
    except (ValueError, RecursionError) as error:
        raise NotMerged(f"it is not JSON: {error}") from error


def merged_objects(old: Values, settings: Values) -> dict[str, Any]:
    """What is no object is replaced. Raise NotMerged where an object would be put over a text."""
    new = dict(old)
    for key, value in settings.items():
        before = new.get(key)
        if isinstance(value, Mapping):
            if before is not None and not isinstance(before, dict):
                raise NotMerged(f"its `{key}` is no object")
            new[key] = merged_objects(before or {}, value)
        else:
            new[key] = value
    return new


# --- variables -------------------------------------------------------------------------------

_VARIABLE = re.compile(r"^(\s*(?:export\s+)?)([A-Za-z_]\w*)(\s*=)(.*)$")


def merged_env(text: str, settings: Mapping[str, str]) -> str:
    """Lines of NAME=value, as Docker and compose read them. Raise NotMerged."""
    left = dict(settings)
    lines = []
    for line in text.removesuffix("\n").split("\n") if text else []:
        found = _VARIABLE.match(line)
        name = found[2] if found else ""
        if found and name in settings:
            if name not in left:
                raise NotMerged(f"it has {name} twice")
            lines.append(f"{found[1]}{name}{found[3]}{left.pop(name)}")
        else:
            lines.append(line)
    lines += [f"{name}={value}" for name, value in left.items()]
    return "\n".join(lines) + "\n"
