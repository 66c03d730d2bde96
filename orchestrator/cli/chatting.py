"""The word `run`: a model is loaded, and chats in the terminal by way of the gateway."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from orchestrator.cli.client import NotReached, RefusedByDaemon, Remote
from orchestrator.cli.commands import DONE, FAILED, loaded
from orchestrator.cli.render import error_lines
from orchestrator.cli.screen import complain, say, say_piece

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from orchestrator.cli.client import Json

PROMPT = ">>> "
BYE, CLEAR, HELP = "/bye", "/clear", "/help"
WORDS = f"{CLEAR} forgets what was said, {BYE} or Ctrl-D ends, Ctrl-C ends an answer."
MESSAGES_MAX = 200  # of one conversation that are sent again: no context holds more


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name or alias of a model")
    parser.add_argument("prompt", nargs="*", metavar="TEXT", help="ask this and end")


def run(remote: Remote, words: Namespace) -> int:
    """With a text, or where text is piped in, one answer; else a conversation."""
    loaded(remote, {"model": words.name})
    prompt = " ".join(words.prompt)
    if not sys.stdin.isatty():
        prompt = "\n\n".join(filter(None, (prompt, sys.stdin.read().strip())))
    chat = Chat(remote, words.name)
    if prompt:
        chat.ask(prompt)
        return DONE
    if not sys.stdin.isatty():
        complain("There is nothing to ask: say it behind the name, or pipe it in.")
        return FAILED
    _converse(chat)
    return DONE


def _converse(chat: Chat) -> None:
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415 - gives `input` its history and its keys
    say(f"{chat.model} listens. {WORDS}")
    while True:
        try:
            text = input(PROMPT).strip()
        except EOFError:
            say("")
            return
        except KeyboardInterrupt:
            say("", f"({BYE} or Ctrl-D ends.)")
            continue
        if text == BYE:
            return
        if text == CLEAR:
            chat.clear()
        elif text in (HELP, "/?"):
            say(WORDS)
        elif text:
            _answered(chat, text)


def _answered(chat: Chat, text: str) -> None:
    """One that fails does not end the conversation."""
    try:
        chat.ask(text)
    except KeyboardInterrupt:
        say("")
    except RefusedByDaemon as refused:
        complain(*error_lines(refused.body))
    except NotReached as error:
        complain(str(error), error.remedy)


class Chat:
    """What was said so far."""

    def __init__(self, remote: Remote, model: str, screen: TextIO | None = None) -> None:
        self.model = model
        self._remote = remote
        self._said: list[Json] = []
        self._terminal = (screen or sys.stdout).isatty()

    def clear(self) -> None:
        self._said.clear()

    def ask(self, text: str) -> None:
        """Show the answer as it comes. What failed or was ended is not part of what was said.

        Raise RefusedByDaemon or NotReached.
        """
        asked: Json = {"role": "user", "content": text}
        body = {"model": self.model, "stream": True, "messages": [*self._said, asked]}
        pieces = []
        for piece, thought in self._pieces(body):
            if not thought:
                pieces.append(piece)
            if not thought or self._terminal:
                say_piece(piece)
        say("")
        self._said += [asked, {"role": "assistant", "content": "".join(pieces)}]
        del self._said[:-MESSAGES_MAX]

    def _pieces(self, body: Json) -> Iterator[tuple[str, bool]]:
        """Of the answer, and of the thoughts before it, which a terminal shows in brackets."""
        thinks = False
        for event in self._remote.streamed("/v1/chat/completions", body):
            if "error" in event:
                raise RefusedByDaemon(502, _body_of(event["error"]), str(event))
            delta = _delta(event)
            if thought := delta.get("reasoning_content"):
                yield ("" if thinks else "(") + str(thought), True
                thinks = True
            if content := delta.get("content"):
                if thinks:
                    yield ")\n\n", True
                thinks = False
                yield str(content), False


def _delta(event: Json) -> dict[str, Any]:
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return {}
    delta = choices[0].get("delta")
    return delta if isinstance(delta, dict) else {}


def _body_of(error: object) -> Json:
    said = error if isinstance(error, dict) else {"message": str(error)}
    return {"detail": said.get("message") or said.get("detail"), "remedy": said.get("remedy", "")}
