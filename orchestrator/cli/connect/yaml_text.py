"""Items put into a list of a YAML file: its lines stay where and as they are, comments included."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from orchestrator.cli.connect.merging import NotMerged, merged_objects

Item = Mapping[str, Any]
_EMPTY = re.compile(r":\s*(\[\s*\]|~|null)?\s*(#.*)?$")
SPELLED_OTHERWISE = "its `{}` is written in a way that cannot be changed line by line"


def merged_yaml(
    text: str, head: Mapping[str, str], key: str, items: Sequence[Item], identity: str
) -> str:
    """Items whose name under `identity` is there are merged, others come after the last.

    `head` is what a file that has nothing yet begins with. Raise NotMerged.
    """
    old = _yaml_of(text)
    if old is None:
        return dumped_yaml({**head, key: [dict(item) for item in items]})
    if not isinstance(old, dict):
        raise NotMerged("it is YAML, but no mapping")
    listed = old.get(key) or []
    if not isinstance(listed, list):
        raise NotMerged(f"its `{key}` is no list")
    new = {item[identity]: dict(item) for item in items}
    named = [_name(item, identity) for item in listed]
    changed = {
        at: merged_objects(listed[at], new[name]) for at, name in enumerate(named) if name in new
    }
    kept = [changed.get(at, item) for at, item in enumerate(listed)]
    added = [item for name, item in new.items() if name not in named]
    expected = {**old, key: [*kept, *added]}
    made = _edited(text, key, changed, added)
    if _same(made, expected):
        return made
    raise NotMerged(SPELLED_OTHERWISE.format(key))


def dumped_yaml(value: object) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)


def _yaml_of(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise NotMerged(f"it is not YAML: {' '.join(str(error).split())}") from error


def _same(text: str, expected: object) -> bool:
    try:
        return bool(yaml.safe_load(text) == expected)
    except yaml.YAMLError:
        return False


def _name(item: object, identity: str) -> Any:
    name = item.get(identity) if isinstance(item, dict) else None
    return name if isinstance(name, str) else None


def _edited(text: str, key: str, changed: Mapping[int, Item], added: Sequence[Item]) -> str:
    lines = text.splitlines(keepends=True)  # as the marks of nodes count them
    if lines and lines[-1].splitlines() == [lines[-1]]:
        lines[-1] += "\n"
    root = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode), "a mapping was read from it"
    pairs = [pair for pair in root.value if getattr(pair[0], "value", None) == key]
    if not pairs:
        return "".join([*lines, f"{key}:\n", *_lines_of(added, "  ")])
    name, value = pairs[0]
    if not value.value or value.tag == "tag:yaml.org,2002:null":
        at = name.start_mark.line
        if not _EMPTY.search(lines[at].rstrip()):
            raise NotMerged(SPELLED_OTHERWISE.format(key))
        lines[at : at + 1] = [f"{key}:\n", *_lines_of(added, "  ")]
        return "".join(lines)
    if value.flow_style:
        raise NotMerged(SPELLED_OTHERWISE.format(key))
    starts = [_dash(lines, item.start_mark.line) for item in value.value]
    ends = [*starts[1:], _last_line(value, lines)]
    indent = lines[starts[0]].partition("-")[0]
    lines[ends[-1] : ends[-1]] = _lines_of(added, indent)
    for at in sorted(changed, reverse=True):
        said = _end_of_what_is_said(lines, starts[at], ends[at])
        lines[starts[at] : said] = _lines_of([changed[at]], indent)
    return "".join(lines)


def _dash(lines: Sequence[str], at: int) -> int:
    """The line of an item's dash, which may stand alone."""
    return next((line for line in range(at, -1, -1) if lines[line].lstrip()[:1] == "-"), at)


def _last_line(node: yaml.Node, lines: Sequence[str]) -> int:
    """The line after the last one that belongs to the list."""
    end = node.end_mark.line + (1 if node.end_mark.column else 0)
    return _end_of_what_is_said(lines, node.start_mark.line, min(end, len(lines)))


def _end_of_what_is_said(lines: Sequence[str], start: int, end: int) -> int:
    """Without blank lines and comments behind it, which may be about what follows."""
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip()[0] == "#"):
        end -= 1
    return end


def _lines_of(items: Sequence[Item], indent: str) -> list[str]:
    text = dumped_yaml([dict(item) for item in items]) if items else ""
    return [f"{indent}{line}" for line in text.splitlines(keepends=True)]
