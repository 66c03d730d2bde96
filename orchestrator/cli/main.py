"""The words an operator types. Most become one HTTP call to a running daemon; `serve` starts one.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or configuration. What is slow to import
is imported by the word that needs it, so that the other words answer at once.
"""
# ruff: noqa: PLC0415 - see above: 80 ms to answer, where the daemon's imports take over a second

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import (
    adding,
    auditing,
    benching,
    chatting,
    commands,
    completion,
    edge,
    examining,
    keys,
    serving,
    simulating,
    watching,
)
from orchestrator.cli.agents import command as agents
from orchestrator.cli.client import (
    API_KEY,
    API_KEY_FILE,
    URL_DEFAULT,
    Answer,
    KeyFileUnreadable,
    NotReached,
    RefusedByDaemon,
    Remote,
    UrlInvalid,
    key_from,
)
from orchestrator.cli.commands import DONE, FAILED, MISUSED, show
from orchestrator.cli.connect import arguments as connect
from orchestrator.cli.importing import arguments as making
from orchestrator.cli.installed import SayVersion, version
from orchestrator.cli.render import error_lines, estimate_lines
from orchestrator.cli.screen import complain, plain, say, say_exactly
from orchestrator.cli.service import arguments as service
from orchestrator.cli.words import WordParser

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


INTERRUPTED = 130  # what shells report of a program that Ctrl-C ended
URL = "ORCHESTRATOR_URL"
LINES_DEFAULT = 100
OUTCOMES = ("answered", "refused", "client_gone", "server_died", "failed", "ended")


def main(arguments: Sequence[str] | None = None) -> int:
    """Never raises, but for what argparse and a server that cannot start do: SystemExit."""
    words = parser().parse_args(arguments)
    try:
        code: int = words.run(words)
    except KeyboardInterrupt:
        complain("")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe has ended (`| head`). Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code


# --- words for a running daemon --------------------------------------------------------------


def _status_of(remote: Remote, words: argparse.Namespace) -> int:
    if words.watch:
        return watching.status(remote, as_json=words.json)
    return commands.status(remote, words)


def _asking(
    run: Callable[[Remote, argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    """What asks the daemon by `run`, and turns its failures into sentences and an exit code."""

    def running(words: argparse.Namespace) -> int:
        environ = os.environ  # noqa: TID251 - the command line is where settings come in
        url = words.url or environ.get(URL) or URL_DEFAULT
        try:
            return run(Remote(url, key_from(environ)), words)
        except KeyFileUnreadable as error:
            complain(f"{error}.")
            return MISUSED
        except UrlInvalid as error:
            complain(f"{error}: set --url or {URL}.")
            return MISUSED
        except RefusedByDaemon as error:
            if words.json:
                say_exactly(error.text)
            complain(*error_lines(error.body))
        except NotReached as error:
            complain(str(error), error.remedy)
        except commands.Unintelligible as error:
            complain(
                f"The answer of {url} is not what this version expects ({error}).",
                "Is the daemon of another version? `--json` shows the answer as it is.",
            )
        return FAILED

    return running


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="kept up to date, until Ctrl-C")


def _name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name or alias of a model")


def _order(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--priority", type=int, metavar="N", help="higher matters more")
    parser.add_argument("--owner", help="who keeps it: the lease is theirs")
    parser.add_argument("--lease-seconds", type=_seconds, metavar="S", help="how long it is kept")
    parser.add_argument("--ttl", type=_seconds, metavar="S", help="leaves after so long idle")
    parser.add_argument("--context-size", type=int, metavar="N")
    parser.add_argument("--gpu-layers", type=_layers, metavar="N|all", help="the rest on the host")
    parser.add_argument("--cache-type", metavar="T", help="of keys and values: f16, q8_0, ...")
    parser.add_argument("--lora-scales", type=_scales, metavar="S,S", help="one for each adapter")
    parser.add_argument("--profile", metavar="NAME", help="fast, balanced, quality, ...")
    parser.add_argument("--evict", choices=("never",), help="never: only if no model has to leave")
    parser.add_argument("--pin", action="store_true", help="leaves only by force or its unload")


def _load(parser: argparse.ArgumentParser) -> None:
    _order(parser)
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument(
        "--wait", type=_wait, metavar="S", help="give up waiting after S seconds; the load goes on"
    )
    waiting.add_argument("--no-wait", action="store_true", help="order it and return at once")


def _unload(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--force", action="store_true", help="also in use or pinned")
    parser.add_argument("--owner", help="end this owner's lease; the last one unloads")


def _logs(parser: argparse.ArgumentParser) -> None:
    _name(parser)
    parser.add_argument("--lines", type=int, default=LINES_DEFAULT, metavar="N")


def _events(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--follow", "-f", action="store_true", help="as they happen, until Ctrl-C")
    everything = "all that is known, requests too, as JSON lines that `simulate` replays"
    how.add_argument("--export", action="store_true", help=everything)
    parser.add_argument("--lines", type=int, default=LINES_DEFAULT, metavar="N")
    parser.add_argument("--model", metavar="NAME", help="only what concerns this model")


def _requests(parser: argparse.ArgumentParser) -> None:
    _status(parser)
    parser.add_argument("--lines", type=int, default=LINES_DEFAULT, metavar="N")
    parser.add_argument("--model", metavar="NAME", help="only what names this model")
    parser.add_argument("--client", metavar="ADDRESS", help="only from this address")
    parser.add_argument("--owner", help="only of this owner")
    parser.add_argument("--outcome", choices=OUTCOMES, help="only what ended so")


def _cancel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=int, metavar="ID", help="as `requests` shows it")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def _scales(text: str) -> list[float]:
    return [float(scale) for scale in text.split(",")]


def _wait(text: str) -> float:
    seconds = _seconds(text)
    if seconds > commands.WAIT_S_MAX:
        raise argparse.ArgumentTypeError(f"at most {commands.WAIT_S_MAX:.0f} seconds")
    return seconds


# --- words that need no daemon ---------------------------------------------------------------


_CONTEXT_HELP = "tokens of all slots together, as llama.cpp's -c takes them; else as trained"


def _estimate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.gguf", help="any part of a split model")
    parser.add_argument("--context", type=int, default=0, metavar="N", help=_CONTEXT_HELP)
    parser.add_argument("--slots", type=int, default=1, metavar="N")
    parser.add_argument("--split-cache", action="store_true", help="a context for each slot")
    parser.add_argument("--cache-type", default="f16", metavar="T", help="of keys and values")
    parser.add_argument("--ubatch", type=int, default=512, metavar="N")
    parser.add_argument("--gpu-layers", type=_layers, default="all", metavar="N|all")
    parser.add_argument("--mmproj", type=Path, metavar="F", help="the projector of a vision model")
    parser.add_argument("--flash-attn", choices=("on", "off"), default="on")
    parser.add_argument("--json", action="store_true", help="print the parts as JSON, in MiB")


def _pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="NAME|REPO[:FILE]", help="such as org/name:Q4_K_M")


def pull(words: argparse.Namespace) -> int:
    from orchestrator.hub.terminal import pull_and_tell

    environ = os.environ  # noqa: TID251 - HF_HOME, HF_ENDPOINT and HF_TOKEN
    return pull_and_tell(words.reference, environ, if_missing=False)


def _layers(text: str) -> int | str:
    if text != "all" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is neither a number of layers nor `all`")
    return text if text == "all" else int(text)


def estimate(words: argparse.Namespace) -> int:
    from orchestrator.gguf.errors import GgufError
    from orchestrator.gguf.estimate import estimate as estimated
    from orchestrator.gguf.reader import read_header
    from orchestrator.gguf.settings import Settings

    try:
        asked = Settings(
            context_size=words.context,
            slots=words.slots,
            unified_cache=not words.split_cache,
            cache_type_k=words.cache_type,
            cache_type_v=words.cache_type,
            batch=max(Settings().batch, words.ubatch),
            ubatch=words.ubatch,
            gpu_layers=words.gpu_layers,
            flash_attention=words.flash_attn == "on",
            projector=read_header(words.mmproj) if words.mmproj else None,
        )
        told = estimated(read_header(words.file), asked).to_json()
    except GgufError as error:
        complain(plain(f"{error}."))  # one line, whatever the file calls itself
        return FAILED
    show(Answer(told, json.dumps(told, indent=2)), estimate_lines, as_json=words.json)
    return DONE


def _config(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="check|schema|example")
    check = kinds.add_parser("check", help="say everything that is wrong with a file")
    check.add_argument("file", type=Path, metavar="FILE")
    kinds.add_parser("schema", help="print the JSON Schema of the file")
    kinds.add_parser("example", help="print a commented example")


def config(words: argparse.Namespace) -> int:
    from orchestrator.catalogue.added import check_added
    from orchestrator.catalogue.predictions import Predictions
    from orchestrator.config.loading import EXAMPLE_CONFIG, config_schema, load_config
    from orchestrator.errors import ConfigInvalid
    from orchestrator.gguf.headers import Headers

    if words.kind == "schema":
        say_exactly(json.dumps(config_schema(), indent=2))
        return DONE
    if words.kind == "example":
        say_exactly(EXAMPLE_CONFIG.read_text())
        return DONE
    estimate = Predictions(Headers()).footprint
    try:
        checked = load_config(words.file, estimate=estimate)
        added = check_added(checked, estimate)
    except ConfigInvalid as error:
        complain(*error.mistakes)
        return MISUSED
    models, services = len(checked.models), len(checked.services)
    also = f", added through the API: {added}" if added else ""
    say(f"{words.file} is right: models: {models}, services: {services}{also}.")
    if added is None:
        say(f"What was added through the API was not checked: {checked.state_dir} is not yours.")
    if doubt := checked.scheduling.doubt():
        say(f"Note: {doubt}")
    return DONE


# --- the table -------------------------------------------------------------------------------


def _nothing(parser: argparse.ArgumentParser) -> None:
    """The word takes no arguments."""


def _complete(words: argparse.Namespace) -> int:
    return completion.run_with(parser)(words)


@dataclass(frozen=True, slots=True)
class Word:
    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


WITHOUT_DAEMON = (
    Word("serve", "run the daemon", serving.arguments, serving.run),
    Word("edge", "run nginx in front of the daemon", edge.arguments, edge.run),
    Word("estimate", "what a model file would take, told from its header", _estimate, estimate),
    Word("pull", "download a model into the Hugging Face cache", _pull, pull),
    Word(
        "doctor",
        "say what this machine has and what is missing",
        examining.arguments,
        examining.run,
    ),
    Word("connect", "settings that lead a client to the daemon", connect.arguments, connect.run),
    Word("service", "keep the daemon running", service.arguments(serving.arguments), service.run),
    Word("audit", "whether its lines were changed", auditing.arguments, auditing.run),
    Word(
        "simulate",
        "what would have been different on other devices",
        simulating.arguments,
        simulating.run,
    ),
    Word("keys", "who may use the daemon", keys.arguments, keys.run_with(_asking)),
    Word("config", "check a configuration, print its schema or an example", _config, config),
    Word(*making.INIT),
    Word(*making.IMPORT),
    Word(
        "completion", "print what completes these words in a shell", completion.arguments, _complete
    ),
    Word("version", "print the version", _nothing, version),
)
FOR_DAEMON = (
    Word("status", "what is loaded, and how much room there is", _status, _asking(_status_of)),
    Word("list", "the models that there are", _nothing, _asking(commands.models)),
    Word("models", "the same as list", _nothing, _asking(commands.models)),
    Word("ps", "what is loaded", _status, _asking(commands.ps)),
    Word("run", "load a model and chat with it", chatting.arguments, _asking(chatting.run)),
    Word("chat", "the same as run", chatting.arguments, _asking(chatting.run)),
    Word("bench", "how fast a model is", benching.arguments, _asking(benching.run)),
    Word("stop", "let a model go", _unload, _asking(commands.unload)),
    Word("add", "add a file or a model of a hub", adding.add_arguments, _asking(adding.add)),
    Word("remove", "take a model out again", adding.remove_arguments, _asking(adding.remove)),
    Word("load", "have a model ready", _load, _asking(commands.load)),
    Word("unload", "the same as stop", _unload, _asking(commands.unload)),
    Word("plan", "what a load would do; exit code 1 if refused", _order, _asking(commands.plan)),
    Word("leases", "who keeps what", _nothing, _asking(commands.leases)),
    Word("logs", "the last lines of a model server's log", _logs, _asking(commands.logs)),
    Word("events", "what was decided, and why", _events, _asking(commands.events)),
    Word("requests", "requests now and before", _requests, _asking(commands.requests)),
    Word("cancel", "end a request that is under way", _cancel, _asking(commands.cancel)),
    Word("pin", "keep a model from being evicted", _name, _asking(commands.pin)),
    Word("unpin", "let a model be evicted again", _name, _asking(commands.unpin)),
    Word("mcp", "serve these orders to agents, as tools", agents.arguments, _asking(agents.run)),
    Word("reload", "have the configuration read again", _nothing, _asking(commands.reload)),
)


def parser() -> argparse.ArgumentParser:
    parser = WordParser(
        prog="orchestrator",
        description="Decides which models live in VRAM, and makes it so.",
        epilog=f"{URL} says which daemon is asked (default {URL_DEFAULT}), {API_KEY} or the file "
        f"that {API_KEY_FILE} names with which key.",
    )
    parser.add_argument("--version", action=SayVersion, nargs=0, help="print the version")
    words = parser.add_subparsers(required=True, metavar="WORD", title="words")
    for word in (*WITHOUT_DAEMON, *FOR_DAEMON):
        added = words.add_parser(word.name, help=word.help, description=word.help)
        word.arguments(added)
        if word in FOR_DAEMON:
            added.add_argument("--url", help=f"of the daemon; else {URL}")
            added.add_argument("--json", action="store_true", help="print what the API says")
        added.set_defaults(run=word.run)
    return parser
