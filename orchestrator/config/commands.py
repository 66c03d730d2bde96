"""Commands of programs that the operator names: their words, and what is filled in where.

A command is a list of words, or a line that is split as a shell would. No shell runs it.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Annotated

from pydantic import Discriminator, Field, Tag

from orchestrator.config.environment import variables
from orchestrator.config.yaml_lines import KeyPath, Mistake

LINE_CHARS_MAX = 1 << 15
WORDS_MAX = 1024
# Filled in at every start: where to listen, and the model's name.
PORT, HOST, MODEL = "PORT", "HOST", "MODEL"
OURS = frozenset({PORT, HOST, MODEL})
LISTENS = f"${{{PORT}}}"

_CONTINUED = re.compile(r"\\\r?\n")
_NO_WORD = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "2>&1", "&>"})
# Which GPUs a program sees is where it is placed; how it is found again is said in its environment.
_NOT_THEIRS = re.compile(r"(?:CUDA|NVIDIA)_VISIBLE_DEVICES|VRAM_ORCHESTRATOR_\w+")

# Lines may be broken; other control characters break logs and terminals.
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
_Line = Annotated[str, Field(min_length=1, max_length=LINE_CHARS_MAX, pattern=_TEXT)]
_Word = Annotated[str, Field(max_length=LINE_CHARS_MAX, pattern=_TEXT)]  # may be empty: --path ''
_Words = Annotated[tuple[_Word, ...], Field(min_length=1, max_length=WORDS_MAX)]


def _line_or_list(command: object) -> str:
    return "list" if isinstance(command, list | tuple) else "line"


Command = Annotated[
    Annotated[_Line, Tag("line")] | Annotated[_Words, Tag("list")], Discriminator(_line_or_list)
]
Variable = Annotated[
    str,
    Field(
        max_length=LINE_CHARS_MAX, pattern=r"^[A-Za-z_][A-Za-z0-9_]*=[^\x00-\x08\x0a-\x1f\x7f]*$"
    ),
]


def words(command: str | tuple[str, ...]) -> tuple[str, ...]:
    """The words of a command. Raise ValueError, with why, if the line cannot be split."""
    if not isinstance(command, str):
        return command
    return tuple(shlex.split(_CONTINUED.sub(" ", command), comments=True))


def resolved(
    command: str | tuple[str, ...] | None, fill: Callable[[str], str], place: Callable[[str], str]
) -> str | tuple[str, ...] | None:
    """The words, each filled in after the split, so that a blank in a value splits nothing.

    `place` makes a program that is written as a path absolute. A line that cannot be split stays.
    """
    if command is None:
        return None
    try:
        filled = [fill(word) for word in words(command)]
    except ValueError:
        return command
    if filled and ("/" in filled[0] or filled[0].startswith("~")):
        filled[0] = place(filled[0])
    return tuple(filled)


def unset_variables(
    where: KeyPath,
    command: str | tuple[str, ...] | None,
    env: tuple[str, ...],
    unset: Callable[[str], list[str]],
) -> Iterator[Mistake]:
    """What the command and its environment take from ours, and is not there."""
    texts = (command,) if isinstance(command, str) else command or ()
    written = [(("command",), text) for text in texts]
    written += [(("env",), text) for text in env]
    for key, text in written:
        for variable in unset(text):
            if variable not in OURS:
                sentence = f"the environment has no {variable}: set it, or write the value"
                yield Mistake((*where, *key), sentence)


def command_mistakes(command: str | tuple[str, ...], env: tuple[str, ...]) -> Iterator[Mistake]:
    """What keeps a command from being started as it is written."""
    try:
        split = words(command)
    except ValueError as error:
        yield Mistake(("command",), f"cannot be split into words: {error}")
        return
    if not split or not split[0]:
        yield Mistake(("command",), "is empty: the first word is the program")
        return
    for word in split:
        if word in _NO_WORD:
            sentence = f"holds {word}, and no shell runs it: write [sh, -c, '...'] if one should"
            yield Mistake(("command",), sentence)
            break
    if PORT not in {name for text in (*split, *env) for name in variables(text)}:
        sentence = f"must hold {LISTENS}, here or in env: the port to listen on is ours to choose"
        yield Mistake(("command",), sentence)


def env_mistakes(env: tuple[str, ...]) -> Iterator[Mistake]:
    """What is not for an operator to say in an environment."""
    for index, line in enumerate(env):
        name = line.partition("=")[0]
        if _NOT_THEIRS.fullmatch(name):
            yield Mistake(("env", index), f"{name} is not for env: say `devices` of the model")
