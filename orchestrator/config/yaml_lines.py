"""Reads YAML into plain values and remembers the line of every key.

A subset that has no surprises: the JSON-like types of YAML 1.2 (so `no` is text, not false), no
tags, no merge keys. Anchors work, within a bound. Whatever is wrong is collected, not raised.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml

KeyPath = tuple[str | int, ...]
Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]

FILE_BYTES_MAX = 1 << 20  # a thousand models take a tenth of it
VALUES_MAX = 100_000  # aliases can make a small file mean gigabytes
DEPTH_MAX = 16  # the deepest key of ours is four down
DIGITS_MAX = 18  # more does not fit into 64 bits

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan")


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    where: KeyPath
    sentence: str
    line: int | None = None  # None: that of `where`


@dataclass(slots=True)
class Written:
    """What a file says, where it says it, and what is wrong with how it says it."""

    content: dict[str, Plain] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def line(self, where: KeyPath) -> int:
        """The line of the key, or of the nearest thing around it that has one."""
        for length in range(len(where), 0, -1):
            if (line := self.lines.get(where[:length])) is not None:
                return line
        return 1


class _Unreadable(Exception):
    """The rest of the file cannot be understood."""

    def __init__(self, sentence: str, line: int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.line = line


def read_yaml(text: bytes) -> Written:
    """Everything that could be read; what could not is among the mistakes. Never raises."""
    written = Written()
    if len(text) > FILE_BYTES_MAX:
        sentence = f"the file is larger than {FILE_BYTES_MAX >> 20} MiB"
        return Written(mistakes=[Mistake((), sentence, 1)])
    try:
        content = _Reader(_events(text), written).document()
    except _Unreadable as error:
        written.mistakes.append(Mistake((), error.sentence, error.line))
        return written
    if isinstance(content, dict):
        written.content = content
    elif content is not None:
        sentence = "the file must be a mapping of keys, such as `models:`"
        written.mistakes.append(Mistake((), sentence, 1))
    return written


def show(where: KeyPath) -> str:
    """A key path the way one would say it: models.qwen.aliases[0]."""
    shown = ""
    for part in where:
        shown += f"[{part}]" if isinstance(part, int) else f".{part}" if shown else str(part)
    return shown


def _events(text: bytes) -> Iterator[yaml.Event]:
    """What the parser sees, one after the other: it never recurses, however deep the nesting."""
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        yield from yaml.parse(text.decode("utf-8-sig"), Loader=loader)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _Unreadable("the file is not UTF-8 text", line) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "something"
        sentence = f"this is not YAML: {problem}; look at the indentation and the quotes around it"
        raise _Unreadable(sentence, mark.line + 1 if mark else 1) from error
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or "unreadable"
        raise _Unreadable(f"this is not YAML: {reason}", 1) from error


@dataclass(slots=True)
class _Reader:
    """Turns events into values. One use."""

    events: Iterator[yaml.Event]
    written: Written
    anchors: dict[str, tuple[Plain, int]] = field(default_factory=dict)  # the value and its size
    values: int = 0

    def document(self) -> Plain:
        content: Plain = None
        documents = 0
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Unreadable("only one document is read: remove the `---`", _line(event))
                content = self._value(next(self.events), ())
        return content

    def _value(self, event: yaml.Event, where: KeyPath) -> Plain:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, where)
        before = self.values
        self._count(1, event)
        if len(where) > DEPTH_MAX:
            raise _Unreadable(f"the nesting is deeper than {DEPTH_MAX}", _line(event))
        if (tag := getattr(event, "tag", None)) is not None:
            self._complain(where, f"tags such as {tag} are not read: remove it", event)
        value = self._plain(event, where)
        if (anchor := getattr(event, "anchor", None)) is not None:
            self.anchors[anchor] = (value, self.values - before)
        return value

    def _plain(self, event: yaml.Event, where: KeyPath) -> Plain:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, where)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(where)
        return self._sequence(where)

    def _alias(self, event: yaml.AliasEvent, where: KeyPath) -> Plain:
        if event.anchor not in self.anchors:  # also an anchor that contains itself
            self._complain(where, f"no complete value is anchored as &{event.anchor}", event)
            return None
        value, size = self.anchors[event.anchor]
        self._count(size, event)
        return value

    def _mapping(self, where: KeyPath) -> Plain:
        mapping: dict[str, Plain] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._complain(where, "a key must be a plain word", event)
                self._skip(event, where)
                self._skip(next(self.events), where)
                continue
            here = (*where, event.value)
            line = _line(event)
            if event.value == "<<" and event.implicit[0]:
                self._complain(here, "merge keys are not read: write the keys out", event)
                self._skip(next(self.events), where)
            elif event.value in mapping:
                first = self.written.lines[here]
                self._complain(here, f"is here a second time; the first is in line {first}", event)
                self._skip(next(self.events), where)
            else:
                self.written.lines[here] = line
                mapping[event.value] = self._value(next(self.events), here)
        return mapping

    def _sequence(self, where: KeyPath) -> Plain:
        sequence: list[Plain] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*where, len(sequence))
            self.written.lines[here] = _line(event)
            sequence.append(self._value(event, here))
        return sequence

    def _scalar(self, event: yaml.ScalarEvent, where: KeyPath) -> Plain:
        text = event.value
        if not event.implicit[0]:  # quoted, or tagged: text, whatever it looks like
            return text
        if text in _NULL:
            return None
        if text in _BOOLEAN:
            return _BOOLEAN[text]
        if _WHOLE.fullmatch(text):
            if len(text) > DIGITS_MAX:
                self._complain(where, "the number has too many digits", event)
                return None
            return int(text)
        if _NUMBER.fullmatch(text):
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def _skip(self, event: yaml.Event, where: KeyPath) -> None:
        """Read past a value that nobody will look at; its own lines are not kept."""
        aside = _Reader(self.events, Written(), self.anchors, self.values)
        aside._value(event, where)
        self.values = aside.values

    def _count(self, more: int, event: yaml.Event) -> None:
        self.values += more
        if self.values > VALUES_MAX:
            raise _Unreadable(f"the file means more than {VALUES_MAX} values", _line(event))

    def _complain(self, where: KeyPath, sentence: str, event: yaml.Event) -> None:
        self.written.mistakes.append(Mistake(where, sentence, _line(event)))


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return 1 if mark is None else mark.line + 1
