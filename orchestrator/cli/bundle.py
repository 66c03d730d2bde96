"""One archive for whoever is to help: configuration, findings, events, logs, versions, readings.

Secrets do not get into it. What a configuration or an environment names as one is left out, and its
value is replaced wherever it turns up. Logs of model servers may hold prompts: that is said.
"""

import io
import json
import os
import platform
import re
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path

from orchestrator.cli.client import NotReached, RefusedByDaemon, Remote, UrlInvalid
from orchestrator.config.loading import Config

LOG_BYTES_MAX = 64 << 10  # of the end of each log
LOGS_MAX = 20  # the newest
CONFIG_BYTES_MAX = 1 << 20
ANSWER_S = 5.0  # for a daemon on this machine
VALUE_CHARS_MIN = 6  # a shorter one would be found in every second line
REDACTED = "[redacted]"

# By what others call them. `max_tokens` is none.
_NAME = r"[\w.-]*(?:token(?!s)|secret|passw(?:or)?d|passphrase|api[_-]?key|credential)[\w.-]*"
_VALUE = r"\"[^\"\n]*\"|'[^'\n]*'|[^\s,\]}\"']+"
# `"NAME=a value with spaces"`, as environments are listed.
_QUOTED = re.compile(rf"(?<=[\"'])(?P<name>{_NAME}=)(?P<value>[^\"'\n]*)(?=[\"'])", re.IGNORECASE)
_NAMED = re.compile(rf"(?P<name>\b{_NAME}[\"']?\s*[:=]\s*)(?P<value>{_VALUE})", re.IGNORECASE)
# As arguments of a command: `--api-key VALUE`, also as items of a list.
_OPTION = re.compile(rf"(?P<name>--{_NAME}[\"']?[\s,=]+)(?P<value>{_VALUE})", re.IGNORECASE)
_IN_URL = re.compile(r"(?P<name>://)(?P<value>[^/\s:@]*:[^/\s@]+)(?=@)")
_BEARER = re.compile(r"(?P<name>\bBearer\s+)(?P<value>[\w.~+/=-]+)", re.IGNORECASE)
_KNOWN = re.compile(r"(?P<name>)(?P<value>\b(?:hf_|sk-|ghp_)[\w-]{8,})")
_PATTERNS = (_QUOTED, _NAMED, _OPTION, _IN_URL, _BEARER, _KNOWN)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)

ASKED: Mapping[str, str] = {
    "status.json": "/models/status",
    "models.json": "/models",
    "devices.json": "/devices",
    "events.json": "/events?limit=500",
    "jobs.json": "/admin/jobs",
}


class Redaction:
    """Knows secrets by their names, and by their values wherever else these are."""

    def __init__(self, environ: Mapping[str, str], texts: Iterable[str]) -> None:
        values = {value for name, value in environ.items() if _SECRET_NAME.fullmatch(name)}
        for text in texts:
            for pattern in _PATTERNS:
                values |= {found["value"].strip("\"'") for found in pattern.finditer(text)}
        self._values = sorted(
            (value for value in values if len(value) >= VALUE_CHARS_MIN), key=len, reverse=True
        )

    def of(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, REDACTED)
        for pattern in _PATTERNS:
            text = pattern.sub(lambda found: f"{found['name']}{REDACTED}", text)
        return text


def bundled(file: Path, config: Config, findings: str, environ: Mapping[str, str]) -> str:
    """Write it, and say what is in it or why it is not there."""
    url = environ.get("ORCHESTRATOR_URL") or f"http://127.0.0.1:{config.server.port}"
    key = environ.get("ORCHESTRATOR_API_KEY", "").strip() or None
    try:
        held = write_bundle(
            file,
            config=config.path,
            state_dir=config.state_dir,
            findings=findings,
            remote=Remote(url, key),
            environ=environ,
        )
    except (OSError, UrlInvalid) as error:
        return f"{file} was not written: {error}"
    return (
        f"{file} holds {', '.join(held)}. What is named a secret is left out; logs of model "
        "servers may hold prompts: look before you send it."
    )


def write_bundle(
    file: Path,
    *,
    config: Path,
    state_dir: Path,
    findings: str,
    remote: Remote,
    environ: Mapping[str, str],
) -> list[str]:
    """Return what is in it: a new file that its owner alone may read. Raise OSError."""
    written = _tail(config, CONFIG_BYTES_MAX)
    members = {
        "versions.txt": "\n".join(_versions()),
        "findings.json": findings,
        config.name: written,
        **dict(_told(remote)),
        **dict(_logs(state_dir / "logs")),
    }
    redaction = Redaction(environ, (written,))
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, text in members.items():
            data = redaction.of(text).encode("utf-8", "backslashreplace")
            member = tarfile.TarInfo(f"orchestrator-bundle/{name}")
            member.size, member.mtime = len(data), int(time.time())
            archive.addfile(member, io.BytesIO(data))
    return list(members)


def _versions() -> Iterator[str]:
    yield f"Python {sys.version}"
    yield platform.platform()
    yield from sorted(f"{found.name} {found.version}" for found in distributions())


def _told(remote: Remote) -> Iterator[tuple[str, str]]:
    """What a daemon says, if there is one; else why not."""
    for name, path in ASKED.items():
        try:
            answer = remote.ask("GET", path, timeout_s=ANSWER_S)
            yield name, json.dumps(answer.body, indent=1)
        except NotReached as error:
            yield "daemon.txt", str(error)
            return
        except RefusedByDaemon as error:
            yield name, str(error)


def _logs(folder: Path) -> Iterator[tuple[str, str]]:
    try:
        found = [path for path in folder.rglob("*") if path.is_file()]
        newest = sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError as error:
        yield "logs.txt", str(error)
        return
    for path in newest[:LOGS_MAX]:
        yield f"logs/{path.relative_to(folder)}", _tail(path, LOG_BYTES_MAX)


def _tail(path: Path, bytes_max: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - bytes_max, 0))
            return file.read(bytes_max).decode("utf-8", "replace")
    except OSError as error:
        return str(error)
