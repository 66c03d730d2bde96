"""One model of llama-swap's configuration, as one of ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from orchestrator.cli.importing.docker_run import DockerRun, taken_apart
from orchestrator.cli.importing.drafts import Draft, DraftModel, Keys
from orchestrator.cli.importing.guesses import size_mb
from orchestrator.cli.importing.llama_command import (
    LlamaModel,
    NoCounterpart,
    is_llama_server,
    read_arguments,
)
from orchestrator.cli.importing.macros import Macros, command_text

HEALTH = "/health"  # where llama-swap asks unless it is told otherwise
GUESSED = "a guess until it was loaded once: correct it"
ABSENT = "a guess for as long as the file is not there"

_WINDOWS = re.compile(r"(?:^|[\s\"'=])([A-Za-z]):[\\/]")
# Commands whose servers have metrics that say whether they are in use.
_TELLS_USE = re.compile(r"llama-server.* --metrics\b|\bvllm\b|sglang", re.DOTALL)
_HERE = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "[::1]", "::1", ""})  # noqa: S104 - a name


class NotTaken(Exception):
    """The model has no counterpart at all; the text is a sentence without its subject."""


@dataclass(slots=True)
class Taken:
    """What became of one model; its files are allowed to its service at the end."""

    model: DraftModel
    service: str
    service_keys: Keys
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def taken(name: str, said: Mapping[str, object], macros: Macros, home: Path) -> Taken:
    """`home` is the folder that relative paths are meant from. Raise NotTaken."""
    text = macros.expanded(command_text(str(said.get("cmd") or "")))
    if unknown := sorted({*macros.unknown(text)}):
        raise NotTaken(f"its command holds {', '.join(unknown)}, which is no macro of the file")
    windows = _WINDOWS.search(text) is not None
    words = _split(text, windows=windows)
    variables = [macros.expanded(str(line)) for line in _list(said.get("env"))]
    words, before = _without_env(words)
    made = _Command(name, said, words, [*variables, *before], home, macros).taken()
    if windows:
        made.notes.append("its paths are those of Windows: written as WSL sees them, /mnt/c/...")
    return made


@dataclass(slots=True)
class _Command:
    name: str
    said: Mapping[str, object]
    words: list[str]
    env: list[str]
    home: Path
    macros: Macros
    notes: list[str] = field(default_factory=list)

    def taken(self) -> Taken:
        run = taken_apart(self.words)
        try:
            if run is not None and (program := run.serves_llama) is not None:
                return self._llama_image(run, program)
            if is_llama_server(self.words[0]):
                return self._llama(self.words[0], self.words[1:])
        except NoCounterpart as error:
            self.notes.append(f"stays a command, because it {error}")
        return self._program(run)

    def _llama(self, program: str, arguments: Sequence[str]) -> Taken:
        service: Keys = {"engine": "llama_cpp", "runtime": "process"}
        if "/" in program:
            service["binary"] = self._path(program)
            if not Path(str(service["binary"])).is_file():
                self.notes.append(f"{service['binary']} is not here: correct `binary`")
        if env := list(self._environment()):
            service["env"] = env
        return self._of_files("llama-cpp", service, read_arguments(arguments, self._path))

    def _llama_image(self, run: DockerRun, program: str) -> Taken:
        def outside(path: str) -> str:
            found = run.outside(path)
            if found is None:
                raise NoCounterpart(f"names {path}, which no mount of its container shows")
            return self._path(found)

        ours = {"--server", "-s", program}
        arguments = [word for word in run.arguments if word not in ours]
        model = read_arguments(arguments, outside)
        service: Keys = {"engine": "llama_cpp", "runtime": "docker", "image": run.image}
        if program or "ggml-org" in run.image:
            service["binary"] = program or "/app/llama-server"
        if env := list(self._environment([*self.env, *run.env])):
            service["env"] = env
        made = self._of_files("llama-cpp-docker", service, model)
        if made.files:
            mounted = sorted(self._path(host) for host, _ in run.mounts if host.startswith("/"))
            service["models_dir"] = next(
                (folder for folder in mounted if made.files[0].startswith(f"{folder}/")),
                str(PurePath(made.files[0]).parent),
            )
            made.files = [
                file for file in made.files if not file.startswith(f"{service['models_dir']}/")
            ]
        made.notes.append(
            f"`{' '.join(run.options)}` of its container is left out: containers of ours are "
            "read-only, without privileges, and get the GPUs that they are placed on"
        )
        return made

    def _of_files(self, service: str, keys: Keys, found: LlamaModel) -> Taken:
        model = DraftModel(found.keys)
        named = [found.keys.get(key) for key in ("file", "mmproj")]
        named += _adapters(found.keys.get("lora"))
        files = [str(file) for file in named if file and str(file).startswith("/")]
        gone = [file for file in files if not Path(file).is_file()]
        if found.moves is not None:
            found.keys["vram_mb"] = size_mb(*found.sizes)
            model.comments["vram_mb"] = GUESSED
            self.notes.append(f"{found.moves} moves bytes that its file does not tell: say vram_mb")
        elif gone:
            found.keys["vram_mb"] = size_mb(*found.sizes)
            model.comments["vram_mb"] = ABSENT
            self.notes.append(f"{gone[0]} is not here")
        return Taken(model, service, keys, files, [*self.notes, *found.notes])

    def _program(self, run: DockerRun | None) -> Taken:
        port = self._port()
        words = [self._with_port(word, port) for word in self.words]
        env = [self._with_port(line, port) for line in self._environment()]
        if not any("${PORT}" in text for text in (*words, *env)):
            env.append("PORT=${PORT}")
            self.notes.append(
                "its command is told no port: it gets one in PORT; say it in `command`"
            )
        beginnings = ("./", "../", "~/")  # of paths, which are meant from the file's folder
        words = [self._path(word) if word.startswith(beginnings) else word for word in words]
        words[0] = self._path(words[0]) if "/" in words[0] or "\\" in words[0] else words[0]
        if run is not None:
            self.notes.append(
                f"{words[0]} starts its container, which may outlive a kill: better let Docker "
                "have it (`engine: container`, or `runtime: docker` with `image`)"
            )
        keys: Keys = {"command": words}
        if env:
            keys["env"] = list(env)
        keys["vram_mb"] = size_mb(*words[1:], self.name)
        model = DraftModel(keys, {"vram_mb": GUESSED})
        self.notes.append("vram_mb is a guess: nothing tells what a command takes until it ran")
        return Taken(model, "programs", self._talking(), [], self.notes)

    def _talking(self) -> Keys:
        keys: Keys = {"engine": "command", "runtime": "process"}
        check = str(self.said.get("checkEndpoint") or HEALTH)
        if check == "none":
            self.notes.append("checkEndpoint: none: it is ready when it answers at / here")
            check = "/"
        health = self.macros.expanded(check if check.startswith("/") else f"/{check}")
        if re.fullmatch(r"/[^\s\\@#]*", health):
            keys["health"] = health
        if _TELLS_USE.search(" ".join(self.words)):
            keys["metrics"] = "/metrics"
        return keys

    def _port(self) -> int | None:
        """The port that is written out: in the proxy's address, or behind a flag for it."""
        proxy = self.macros.expanded(str(self.said.get("proxy") or ""))
        try:
            address = urlsplit(proxy.replace(":${PORT}", ""))
            port, host = address.port, address.hostname or ""
        except ValueError:
            port, host = None, ""
        if not host.startswith("127.") and host not in _HERE:
            self.notes.append(f"its proxy is {proxy}: here it must listen on ${{HOST}}")
        if "${PORT}" in proxy:
            return None
        following = zip(self.words, self.words[1:], strict=False)
        behind = (
            value for flag, value in following if flag.endswith("-port") and value.isdecimal()
        )
        return port if port is not None else next((int(value) for value in behind), None)

    def _with_port(self, text: str, port: int | None) -> str:
        """A port that is written out is ours to choose."""
        text = text.replace("${PID}", "").replace("${MODEL_ID}", self.name)
        return text if port is None else re.sub(rf"(?<![\d.]){port}(?![\d.])", "${PORT}", text)

    def _environment(self, lines: Sequence[str] | None = None) -> Iterator[str]:
        for line in self.env if lines is None else lines:
            name, given, value = line.partition("=")
            if not given:
                self.notes.append(f"{name} of its environment is left out: it has no value")
            elif re.fullmatch(r"\w+_VISIBLE_DEVICES", name):
                self.notes.append(
                    f"{line} is left out: which GPUs it sees is where it is placed. `devices` of "
                    "the model names others than the roomiest, as `orchestrator doctor` shows them"
                )
            elif name.startswith("LLAMA_ARG_"):
                self.notes.append(f"{line} is left out: write it as the model's key")
            elif re.fullmatch(r"[A-Za-z_]\w*", name):
                yield f"{name}={value}"

    def _path(self, path: str) -> str:
        if found := re.match(r"([A-Za-z]):[\\/]", path):
            rest = path[3:].replace("\\", "/")
            return f"/mnt/{found[1].lower()}/{rest}"
        path = path.replace("\\", "/") if "\\" in path else path
        path = str(Path(path).expanduser()) if path.startswith("~") else path
        plain = str(self.home / path)
        return str(PurePath(*(part for part in _normal(plain))))


def _normal(path: str) -> Iterator[str]:
    parts: list[str] = []
    for part in PurePath(path).parts:
        if part == ".." and len(parts) > 1:
            parts.pop()
        elif part != "..":
            parts.append(part)
    return iter(parts)


def _split(text: str, *, windows: bool) -> list[str]:
    try:
        words = shlex.split(text, posix=not windows)
    except ValueError as error:
        raise NotTaken(f"its command cannot be split into words: {error}") from error
    if windows:
        words = [word.strip("\"'") if word[:1] in "\"'" else word for word in words]
        words = [re.sub(r"\.exe$", "", words[0], flags=re.IGNORECASE), *words[1:]] if words else []
    if not words:
        raise NotTaken("it has no command")
    return words


def _without_env(words: list[str]) -> tuple[list[str], list[str]]:
    """A command that begins with variables, or with `env` and variables."""
    rest = words[1:] if PurePath(words[0]).name == "env" else words
    before = []
    while rest and re.fullmatch(r"[A-Za-z_]\w*=.*", rest[0], re.DOTALL):
        before.append(rest[0])
        rest = rest[1:]
    return (rest, before) if before and rest else (words, [])


def _adapters(value: object) -> list[str]:
    adapters = _list(value)
    return [str(one["file"] if isinstance(one, Mapping) else one) for one in adapters]


def _list(value: object) -> list[object]:
    if isinstance(value, list | tuple):
        return list(value)
    return [] if value is None else [value]


def put(draft: Draft, name: str, made: Taken) -> str:
    """The model into the draft, under its service, whose name it answers."""
    service = draft.service(made.service, made.service_keys)
    made.model.keys = {"service": service, **made.model.keys}
    draft.models[name] = made.model
    for note in made.notes:
        draft.note(note, name)
    return service
