"""Shell completion: words and their flags, for bash, zsh and fish."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from orchestrator.cli.screen import say_exactly

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
_orchestrator() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" choices
  if [ "$COMP_CWORD" -eq 1 ]; then
    choices="{words}"
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    case "$word" in -*) ;; *) COMPREPLY=($(compgen -f -- "$word")); return ;; esac
  fi
  COMPREPLY=($(compgen -W "$choices" -- "$word"))
}}
complete -o filenames -F _orchestrator orchestrator
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="which shell is to complete them")


def run_with(parser: Callable[[], argparse.ArgumentParser]) -> Callable[[argparse.Namespace], int]:
    """`parser` is the whole command line."""

    def run(words: argparse.Namespace) -> int:
        say_exactly(script(words.shell, flags_of(parser())))
        return 0

    return run


def flags_of(parser: argparse.ArgumentParser) -> dict[str, tuple[str, ...]]:
    """The long flags of every word."""
    choices: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to tell
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            choices = action.choices
    return {
        word: tuple(
            flag
            for action in own._actions  # noqa: SLF001
            for flag in action.option_strings
            if flag.startswith("--")
        )
        for word, own in choices.items()
    }


def script(shell: str, flags: Mapping[str, Sequence[str]]) -> str:
    if shell == "fish":
        lines = [
            "complete -c orchestrator -n __fish_use_subcommand -f -a '" + " ".join(flags) + "'"
        ]
        for word, own in flags.items():
            seen = f"__fish_seen_subcommand_from {word}"
            lines += [
                f"complete -c orchestrator -n '{seen}' -l {flag.removeprefix('--')}" for flag in own
            ]
        return "\n".join(lines)
    cases = "\n".join(f'      {word}) choices="{" ".join(own)}" ;;' for word, own in flags.items())
    text = _BASH.format(words=" ".join(flags), cases=cases)
    # zsh reads bash's by its own emulation.
    return f"autoload -U +X bashcompinit && bashcompinit\n{text}" if shell == "zsh" else text
