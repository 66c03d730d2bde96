"""A `docker run` (or podman) command, taken apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

ENGINES = frozenset({"docker", "podman", "nerdctl"})
# Options of `run` that stand alone. All others take a value, inside the word or after it.
_ALONE = frozenset(
    {
        *("--rm", "--init", "-d", "--detach", "-i", "--interactive", "-t", "--tty", "-it", "-ti"),
        *("--privileged", "--read-only", "-P", "--publish-all", "--no-healthcheck", "-q"),
        *("--oom-kill-disable", "--sig-proxy", "--replace", "--disable-content-trust", "-itd"),
        "--quiet",
    }
)
_LLAMA_SERVER = re.compile(r"(?:^|/)llama-server[\w.-]*$")
_LLAMA_IMAGE = re.compile(r"llama[._-]?cpp|llama[._-]?server", re.IGNORECASE)


@dataclass(slots=True)
class DockerRun:
    image: str
    arguments: list[str]
    options: list[str] = field(default_factory=list)  # as written
    mounts: list[tuple[str, str]] = field(default_factory=list)  # here, and inside
    ports: list[tuple[str, str]] = field(default_factory=list)  # here, and inside
    env: list[str] = field(default_factory=list)
    entrypoint: str | None = None
    network: str | None = None

    @property
    def serves_llama(self) -> str | None:
        """The llama-server that it runs, "" where that is the image's entry point; None: another.

        Also None where it is given devices by name: containers of ours get NVIDIA's GPUs only.
        """
        if any(option.partition("=")[0] == "--device" for option in self.options):
            return None
        for program in (self.entrypoint, self.arguments[0] if self.arguments else None):
            if program and _LLAMA_SERVER.search(program):
                return program
        fitting = self.entrypoint is None and _LLAMA_IMAGE.search(self.image)
        return "" if fitting and self.arguments[:1] and self.arguments[0][:1] == "-" else None

    def outside(self, path: str) -> str | None:
        """Where a path inside lies on the host; None where it is inside the image."""
        for host, inside in sorted(self.mounts, key=lambda pair: -len(pair[1])):
            if host.startswith(("/", "~", ".", "$")) and PurePosixPath(path).is_relative_to(inside):
                relative = PurePosixPath(path).relative_to(inside)
                return str(PurePosixPath(host) / relative)
        return None


def taken_apart(words: Sequence[str]) -> DockerRun | None:
    """None: it runs no container."""
    if len(words) < 3 or PurePosixPath(words[0]).name not in ENGINES:
        return None
    rest = list(words[1:])
    if rest[:1] == ["container"]:
        rest = rest[1:]
    if rest[:1] != ["run"]:
        return None
    run = DockerRun(image="", arguments=[])
    at = 1
    while at < len(rest) and rest[at].startswith("-"):
        option, inside, value = rest[at].partition("=")
        taken = [rest[at]]
        if not inside and option not in _ALONE:
            value = rest[at + 1] if at + 1 < len(rest) else ""
            taken.append(value)
        run.options += taken
        _keep(run, option, value)
        at += len(taken)
    if at >= len(rest):
        return None
    run.image, run.arguments = rest[at], rest[at + 1 :]
    return run


def _keep(run: DockerRun, option: str, value: str) -> None:
    match option:
        case "-v" | "--volume":
            host, _, inside = value.partition(":")
            run.mounts.append((host, inside.partition(":")[0]))
        case "--mount":
            parts = dict(part.partition("=")[::2] for part in value.split(","))
            host = parts.get("source") or parts.get("src") or ""
            inside = parts.get("target") or parts.get("dst") or parts.get("destination") or ""
            if host and inside:
                run.mounts.append((host, inside))
        case "-p" | "--publish":
            here, _, inside = value.rpartition(":")
            run.ports.append((here.rpartition(":")[2], inside.partition("/")[0]))
        case "-e" | "--env":
            run.env.append(value)
        case "--entrypoint":
            run.entrypoint = value
        case "--network" | "--net":
            run.network = value
