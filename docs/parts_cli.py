"""The reference of the command line, from the parser that reads it."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from docs.schema_words import code, table
from docs.sentences import sentence
from orchestrator.cli import main as cli


def parts() -> Mapping[str, Callable[[], str]]:
    return {
        "cli overview": _overview,
        "cli alone": lambda: _described(cli.WITHOUT_DAEMON),
        "cli daemon": lambda: _described(cli.FOR_DAEMON),
    }


@cache
def _words() -> Mapping[str, argparse.ArgumentParser]:
    """Every word with the parser of its arguments."""
    return _subparsers(cli.parser())


def _subparsers(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - likewise
            return action.choices
    return {}


def _overview() -> str:
    rows = (
        (f"[`{word.name}`](#{word.name})", word.help, "yes" if word in cli.FOR_DAEMON else "no")
        for word in (*cli.FOR_DAEMON, *cli.WITHOUT_DAEMON)
    )
    return table(("Word", "Does", "Asks a daemon"), rows)


def _described(words: tuple[cli.Word, ...]) -> str:
    return "\n\n".join(_word(word, _words()[word.name]) for word in words)


def _word(word: cli.Word, parser: argparse.ArgumentParser) -> str:
    lines = [f"### {word.name}", "", f"{word.help[0].upper()}{word.help[1:]}.", ""]
    inner = _subparsers(parser)
    usages = inner.values() if inner else [parser]
    lines += ["```text", *(_usage(each) for each in usages), "```", ""]
    if inner:
        rows = [(code(name), _help(parser, name)) for name in inner]
    else:
        rows = [*_arguments(parser, word.name)]
    if rows:
        lines.append(table(("Argument", "Meaning"), rows))
    return "\n".join(lines).rstrip()


def _usage(parser: argparse.ArgumentParser) -> str:
    return " ".join(parser.format_usage().removeprefix("usage: ").split())


def _help(parser: argparse.ArgumentParser, name: str) -> str:
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - likewise
            for choice in action._choices_actions:  # noqa: SLF001 - likewise
                if choice.dest == name:
                    return str(choice.help)
    raise KeyError(name)


def _arguments(parser: argparse.ArgumentParser, word: str) -> Iterator[tuple[str, str]]:
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, argparse._HelpAction):  # noqa: SLF001 - every word has it
            continue
        name = ", ".join(action.option_strings)
        metavar = action.metavar or ("" if action.nargs == 0 else _metavar(action))
        shown = " ".join(filter(None, (name, str(metavar)))).replace("|", " or ")
        said = action.help or sentence("arguments", f"{word} {name or metavar}", name)
        yield code(shown), said + _default(action)


def _metavar(action: argparse.Action) -> str:
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


def _default(action: argparse.Action) -> str:
    shown = action.default not in (None, False, argparse.SUPPRESS)
    return f" (default {code(action.default)})" if shown else ""
