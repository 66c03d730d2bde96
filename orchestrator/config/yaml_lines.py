"""Reads YAML into plain values and remembers the line of every key.

A subset that has no surprises: the JSON-like types of YAML 1.2 (so `no` is text, not false), no
tags, no merge keys. Anchors work, within a bound. What is wrong is collected, not raised.
"""

import re
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

TEXT, PLAIN = "text", "plain"  # tags of nodes: of a scalar in quotes, and of all others
TOO_DEEP = f"the nesting is deeper than {DEPTH_MAX}"
# What PyYAML calls the mistakes it finds when it composes nodes, and what they are called here.
_COMPLAINTS = {
    "but found another document": "only one document is read: remove the `---`",
    "found undefined alias": "there is an alias here (`*name`) whose anchor (`&name`) is not above",
    "second occurrence": "there is an anchor of this name (`&name`) above: choose another",
}


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


@dataclass
class _Unreadable(Exception):
    """The rest of the file cannot be understood."""

    sentence: str
    line: int


def read_yaml(text: bytes) -> Written:
    """Everything that could be read; what could not is among the mistakes. Never raises."""
    written = Written()
    if len(text) > FILE_BYTES_MAX:
        sentence = f"the file is larger than {FILE_BYTES_MAX >> 20} MiB"
        return Written(mistakes=[Mistake((), sentence, 1)])
    try:
        root = _composed(text)
        content = None if root is None else _Reader(written).value(root, ())
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


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Composes nodes whose tag is TEXT, PLAIN, or one that the file names."""

    depth = 0

    def resolve(self, kind: type[yaml.Node], _: str, implicit: tuple[bool, bool]) -> str:
        """The tag of a node that is written without one."""
        return TEXT if kind is yaml.ScalarNode and not implicit[0] else PLAIN

    def descend_resolver(self, parent: yaml.Node | None, _: object) -> None:
        """Called before a node is composed, which the parser does by recursion."""
        self.depth += 1
        if parent is not None and self.depth > DEPTH_MAX + 1:
            raise _Unreadable(TOO_DEEP, _line(parent))

    def ascend_resolver(self) -> None:
        self.depth -= 1


def _composed(text: bytes) -> yaml.Node | None:
    """The node of the one document, if there is one. Raise _Unreadable."""
    try:
        return yaml.compose(text.decode("utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _Unreadable("the file is not UTF-8 text", line) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "something"
        otherwise = f"this is not YAML: {problem}; look at the indentation and the quotes around it"
        sentence = _COMPLAINTS.get(problem, otherwise)
        raise _Unreadable(sentence, mark.line + 1 if mark else 1) from error
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or "unreadable"
        raise _Unreadable(f"this is not YAML: {reason}", 1) from error


@dataclass(slots=True)
class _Reader:
    """Turns nodes into values. One use. An alias is its anchor's node, read once more."""

    written: Written
    around: list[yaml.Node] = field(default_factory=list)  # what the node that is read lies in
    values: int = 0

    def value(self, node: yaml.Node, where: KeyPath) -> Plain:
        self.values += 1
        if self.values > VALUES_MAX:
            raise _Unreadable(f"the file means more than {VALUES_MAX} values", _line(node))
        if len(where) > DEPTH_MAX:
            raise _Unreadable(TOO_DEEP, _line(node))
        if node in self.around:
            self._complain(where, "an anchor cannot contain itself: write the value out", node)
            return None
        if node.tag not in (PLAIN, TEXT):
            self._complain(where, f"tags such as {node.tag} are not read: remove it", node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, where)
        self.around.append(node)
        read = self._mapping if isinstance(node, yaml.MappingNode) else self._sequence
        value = read(node, where)
        self.around.pop()
        return value

    def _mapping(self, node: yaml.Node, where: KeyPath) -> Plain:
        mapping: dict[str, Plain] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._complain(where, "a key must be a plain word", key)
                continue
            here = (*where, key.value)
            if key.value == "<<" and key.tag == PLAIN:
                self._complain(here, "merge keys are not read: write the keys out", key)
            elif key.value in mapping:
                first = self.written.lines[here]
                self._complain(here, f"is here a second time; the first is in line {first}", key)
            else:
                self.written.lines[here] = _line(key)
                mapping[key.value] = self.value(value, here)
        return mapping

    def _sequence(self, node: yaml.Node, where: KeyPath) -> Plain:
        sequence: list[Plain] = []
        for index, entry in enumerate(node.value):
            self.written.lines[(*where, index)] = _line(entry)
            sequence.append(self.value(entry, (*where, index)))
        return sequence

    def _scalar(self, node: yaml.ScalarNode, where: KeyPath) -> Plain:
        text: str = node.value
        if node.tag != PLAIN:  # quoted, or tagged: text, whatever it looks like
            return text
        if text in _NULL:
            return None
        if text in _BOOLEAN:
            return _BOOLEAN[text]
        if _WHOLE.fullmatch(text):
            if len(text) > DIGITS_MAX:
                self._complain(where, "the number has too many digits", node)
                return None
            return int(text)
        if _NUMBER.fullmatch(text):
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def _complain(self, where: KeyPath, sentence: str, node: yaml.Node) -> None:
        self.written.mistakes.append(Mistake(where, sentence, _line(node)))


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1
