"""`orchestrator keys`: made, listed, rotated and revoked, by the daemon or beside it.

With `--config` on the file in the state directory, whether the daemon runs or not: that is how the
first key is made. A key is printed once, and is on the disk before it is.
"""
# ruff: noqa: PLC0415 - what is slow to import is imported by the word that needs it

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchestrator.cli.client import Answer
from orchestrator.cli.commands import DONE, FAILED, MISUSED, show
from orchestrator.cli.key_lines import key_lines, made_key_lines, revoked_lines
from orchestrator.cli.screen import complain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.access.keys.store import KeyFile
    from orchestrator.cli.client import Remote
    from orchestrator.cli.screen import Part
    from orchestrator.config.loading import Config

SCOPES = ("read", "use", "load", "lease", "admin")


def arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="create|list|rotate|revoke")
    _create(kinds.add_parser("create", help="make one; it is shown this once"))
    _common(kinds.add_parser("list", help="those there are, without their secrets"))
    rotate = kinds.add_parser("rotate", help="give one another secret")
    rotate.add_argument("id", metavar="ID", help="as `keys list` shows it")
    rotate.add_argument("--grace", default="0s", metavar="TIME", help="the old one ends after it")
    _common(rotate)
    revoke = kinds.add_parser("revoke", help="end one, and those that were made with it, at once")
    revoke.add_argument("id", metavar="ID", help="as `keys list` shows it")
    _common(revoke)


def _create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="for people: who or what has it")
    parser.add_argument(
        "--scope", action="append", required=True, choices=SCOPES, help="one or several"
    )
    parser.add_argument("--model", action="append", metavar="GLOB", help="else all models")
    parser.add_argument("--max-priority", type=int, metavar="N", help="more is refused")
    parser.add_argument("--requests-per-minute", type=int, metavar="N", help="else 60")
    parser.add_argument("--burst", type=int, metavar="N", help="of these, within one second")
    parser.add_argument("--max-in-flight", type=int, metavar="N", help="at the same time; else 8")
    parser.add_argument("--max-waiting", type=int, metavar="N", help="for models; else 20")
    parser.add_argument("--vram-mb", type=int, metavar="N", help="of all it has loaded and leased")
    parser.add_argument("--max-lease-seconds", type=float, metavar="S", help="of each lease")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="written by one request")
    parser.add_argument("--network", action="append", metavar="CIDR", help="else from anywhere")
    parser.add_argument("--expires", metavar="TIME", help="such as 90d; else never")
    _common(parser)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="on its state directory, not by the daemon"
    )
    parser.add_argument("--url", help="of the daemon; else ORCHESTRATOR_URL")
    parser.add_argument("--json", action="store_true", help="print what the API says")


def run_with(
    asking: Callable[
        [Callable[[Remote, argparse.Namespace], int]], Callable[[argparse.Namespace], int]
    ],
) -> Callable[[argparse.Namespace], int]:
    """`asking` turns the failures of a daemon that is asked into sentences."""

    def run(words: argparse.Namespace) -> int:
        return beside(words) if words.config else asking(by_daemon)(words)

    return run


def by_daemon(remote: Remote, words: argparse.Namespace) -> int:
    named = f"/keys/{quote(getattr(words, 'id', ''), safe='')}"
    match words.kind:
        case "create":
            answer = remote.ask("POST", "/keys", _wish(words))
        case "list":
            answer = remote.ask("GET", "/keys")
        case "rotate":
            answer = remote.ask("POST", f"{named}/rotate", {"grace": words.grace})
        case _:
            answer = remote.ask("DELETE", named)
    _show(answer, words)
    return DONE


def beside(words: argparse.Namespace) -> int:
    """On the file itself. A daemon that runs notices within a tenth of a second."""
    from pydantic import ValidationError

    from orchestrator.access.keys.acts import TooManyKeys, UnknownKey
    from orchestrator.access.keys.store import KeyFile, KeysUnreadable
    from orchestrator.catalogue.predictions import Predictions
    from orchestrator.config.loading import load_config
    from orchestrator.errors import ConfigInvalid
    from orchestrator.gguf.headers import Headers

    file = None
    try:
        estimate = Predictions(Headers()).footprint
        config = load_config(words.config, estimate=estimate, lenient=True)
        state_dir = config.state_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = KeyFile.at(state_dir)
        told = _done(file, config, words)
    except ConfigInvalid as error:
        complain(*error.mistakes)
        return MISUSED
    except ValidationError as error:
        complain(*(f"{'.'.join(map(str, one['loc']))}: {one['msg']}." for one in error.errors()))
        return MISUSED
    except ValueError as error:
        complain(f"--grace {words.grace}: {error}.")
        return MISUSED
    except UnknownKey:
        complain(f"There is no key {words.id}.", "`orchestrator keys list` shows those there are.")
        return FAILED
    except (KeysUnreadable, TooManyKeys, OSError) as error:
        complain(f"Nothing was changed: {error}")
        return FAILED
    finally:
        if file is not None:
            file.close()
    _show(Answer(told, json.dumps(told)), words)
    return DONE


def _write_down(config: Config, words: argparse.Namespace) -> None:
    """Into the audit log, before it is done. Raise OSError: it is not done then."""
    from orchestrator.access.audit.files import AuditFile, dated
    from orchestrator.access.audit.lines import Act
    from orchestrator.access.caller import Caller, Via

    if not config.audit.enabled:
        return
    target = words.name if words.kind == "create" else words.id
    act = Act(action=f"key.{words.kind}", caller=Caller(via=Via.COMMAND), target=target)
    log = AuditFile(
        config.state_dir, bytes_max=config.audit.file_mb << 20, files_max=config.audit.files
    )
    try:
        log.write([dated(act)], sync=True)
    finally:
        log.close()


def _done(file: KeyFile, config: Config, words: argparse.Namespace) -> Mapping[str, object]:
    from pydantic import TypeAdapter

    from orchestrator.access.keys import acts
    from orchestrator.access.keys.wish import KeyWish, seconds_in
    from orchestrator.web.wire import key_shapes

    now_s = time.time()
    if words.kind != "list":
        _write_down(config, words)
    match words.kind:
        case "create":
            wish = TypeAdapter(KeyWish).validate_python(_wish(words))
            new, _ = acts.create(file, wish, now_s)
            assert isinstance(new, acts.NewKey), "the operator's keys have no bounds"
            return {**key_shapes.made(new, now_s)}
        case "list":
            keys = file.read().keys.values()
            return {"keys": [key_shapes.key(one, now_s) for one in keys]}
        case "rotate":
            new, _ = acts.rotate(file, words.id, now_s, seconds_in(words.grace))
            return {**key_shapes.made(new, now_s)}
        case _:
            ended, _ = acts.revoke(file, words.id, now_s)
            return {"revoked": [key.id for key in ended]}


def _wish(words: argparse.Namespace) -> dict[str, Any]:
    """Only what was said."""
    said = {
        "name": words.name,
        "scopes": words.scope,
        "models": words.model,
        "max_priority": words.max_priority,
        "requests_per_minute": words.requests_per_minute,
        "burst": words.burst,
        "max_in_flight": words.max_in_flight,
        "max_waiting": words.max_waiting,
        "vram_mb": words.vram_mb,
        "max_lease_seconds": words.max_lease_seconds,
        "max_tokens": words.max_tokens,
        "networks": words.network,
        "expires": words.expires,
    }
    return {name: value for name, value in said.items() if value is not None}


def _show(answer: Answer, words: argparse.Namespace) -> None:
    known: Mapping[str, Callable[[Any], Iterable[Part]]]
    known = {"list": key_lines, "revoke": revoked_lines}
    show(answer, known.get(words.kind, made_key_lines), as_json=words.json)
