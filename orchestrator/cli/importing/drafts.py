"""A configuration of ours as it is put together, with what has no counterpart in it."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from orchestrator.config.models import NAME, RESERVED_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Adapter = str | dict[str, str | float]  # a file, or one with its scale
Value = None | bool | int | float | str | list[str] | list[Adapter]
Keys = dict[str, Value]

COLUMNS = 100  # of a comment
ITEMS_ON_A_LINE = 72  # characters; longer lists have one item on each line


@dataclass(frozen=True, slots=True)
class Note:
    """What is not as it was, and why; of one model, or of all."""

    sentence: str
    model: str | None = None

    def __str__(self) -> str:
        return self.sentence if self.model is None else f"{self.model}: {self.sentence}"


@dataclass(slots=True)
class DraftModel:
    keys: Keys
    comments: dict[str, str] = field(default_factory=dict)  # behind a key


@dataclass(slots=True)
class Draft:
    """Written in the order in which things were put in."""

    head: tuple[str, ...]  # what stands on top, without the `#`
    above: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # comments on sections
    sections: dict[str, Mapping[str, Value] | str] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)  # of the gateway
    services: dict[str, Keys] = field(default_factory=dict)
    models: dict[str, DraftModel] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, sentence: str, model: str | None = None) -> None:
        self.notes.append(Note(sentence, model))

    def service(self, name: str, keys: Keys) -> str:
        """The service with these keys, made if there is none; its name may get a number."""
        for known, others in self.services.items():
            if others == keys:
                return known
        free = numbered(name, self.services)
        self.services[free] = keys
        return free

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield from _comments(self.head)
        for name, section in self.sections.items():
            yield ""
            yield from _comments(self.above.get(name, ()))
            if isinstance(section, str):
                yield f"{name}: {scalar(section)}"
            else:
                yield f"{name}:"
                yield from _keys(section, {}, "  ")
        if self.chains:
            yield from ("", "gateway:", "  chains:")
            yield from _keys(self.chains, {}, "    ")
        for title, entries in (("services", self.services), ("models", self.models)):
            yield ""
            yield from _comments(self.above.get(title, ()))
            yield f"{title}:" if entries else f"{title}: {{}}"
            for name, entry in entries.items():
                yield f"  {scalar(name)}:"
                if isinstance(entry, DraftModel):
                    yield from _keys(entry.keys, entry.comments, "    ")
                else:
                    yield from _keys(entry, {}, "    ")


def _comments(paragraphs: Iterable[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        yield from (f"# {line}" for line in textwrap.wrap(paragraph, COLUMNS))


def _keys(keys: Mapping[str, Value], comments: Mapping[str, str], indent: str) -> Iterator[str]:
    for key, value in keys.items():
        behind = f"   # {comments[key]}" if key in comments else ""
        name = scalar(key)
        if not isinstance(value, list):
            yield f"{indent}{name}: {scalar(value)}{behind}"
            continue
        items = [scalar(item) for item in value]
        if len(line := ", ".join(items)) <= ITEMS_ON_A_LINE:
            yield f"{indent}{name}: [{line}]{behind}"
        else:
            yield f"{indent}{name}:{behind}"
            yield from (f"{indent}  - {item}" for item in items)


def scalar(value: Value | Adapter) -> str:
    """In one line, in quotes where it would be read as something else."""
    if isinstance(value, str):
        value = str(value)  # of an enumeration, what it is called
    if isinstance(value, str) and (value == "" or not _PLAIN.fullmatch(value)):
        return yaml.safe_dump(value, default_style='"', width=1 << 20, allow_unicode=True).strip()
    dumped: str = yaml.safe_dump([value], default_flow_style=True, width=1 << 20)
    return dumped.strip()[1:-1]


_PLAIN = re.compile(r"[A-Za-z0-9_./-][\w./@+:-]*(?<!:)")


def named(wanted: str, taken: Iterable[str]) -> str:
    """A name of ours that is nearest to the wanted one, and not taken."""
    plain = re.sub(r"[^A-Za-z0-9._:@-]+", "-", wanted).replace("..", ".").strip("-._:@")[:100]
    if NAME.fullmatch(plain) is None or plain in RESERVED_NAMES:
        plain = f"model-{plain}".rstrip("-")
    return numbered(plain, taken)


def numbered(name: str, taken: Iterable[str]) -> str:
    known = set(taken)
    free, number = name, 2
    while free in known:
        free, number = f"{name}-{number}", number + 1
    return free


def roots_of(files: Iterable[str]) -> list[str]:
    """The folders that these absolute files lie in; one inside another is not said twice."""
    folders = sorted({Path(file).parent for file in files if file.startswith("/")})
    return [
        str(folder)
        for folder in folders
        if not any(other != folder and folder.is_relative_to(other) for other in folders)
    ]
