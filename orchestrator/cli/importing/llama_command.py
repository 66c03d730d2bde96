"""The command line of a llama-server, as keys of a model of ours and what is left over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from orchestrator.cli.importing.drafts import Adapter, Keys
from orchestrator.config.llama_flags import BY_KEY, NOT_FOR_MODELS, key_of, moving, spelled
from orchestrator.config.paths import Misplaced, on_a_hub
from orchestrator.config.scalars import CONTEXT_SIZE_MAX
from orchestrator.config.sections import CacheType, LoadMode

ALL_LAYERS = 99  # what everybody writes for "all"
BATCH_DEFAULT = 2048
QUANTIZATION_DEFAULT = "Q4_K_M"  # of llama-server too

_PROGRAM = re.compile(r"llama[-_.]?server", re.IGNORECASE)
_HUB_URL = re.compile(
    r"https?://huggingface\.co/([\w.-]+/[\w.-]+)/(?:resolve|blob)/[^/]+/([^?]+\.gguf)(?:\?.*)?"
)
_ON = frozenset({"on", "1", "true", "enabled", "auto"})
_OFF = frozenset({"off", "0", "false", "disabled"})
# Flags of ours that stand alone; all others take a value.
_ALONE = frozenset(
    {
        *("--mmproj-auto", "--no-mmproj", "--no-mmproj-auto", "--mmproj-offload", "-ndio"),
        *("--no-mmproj-offload", "-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified"),
        *("--mmap", "--no-mmap", "--mlock", "-dio", "--direct-io", "--no-direct-io", "--jinja"),
        *("--no-jinja", "--embedding", "--embeddings", "--reuse-port", "--metrics", "--slots"),
        *("--no-slots", "--models-autoload", "--no-models-autoload", "--props", "-ag", "--agent"),
        *("--ui-mcp-proxy", "--webui-mcp-proxy", "--cors-credentials"),
    }
)
_MAYBE = frozenset({"-fa", "--flash-attn", "-fit", "--fit"})  # a value since 2025
_SILENT = frozenset({"--host", "--port", "--reuse-port", "--metrics", "--slots", "-a", "--alias"})


class NoCounterpart(Exception):
    """The command is none that a key could say; the text is a sentence without its subject."""


@dataclass(slots=True)
class LlamaModel:
    keys: Keys
    extra_args: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)  # what a guess of its size goes by

    @property
    def moves(self) -> str | None:
        """The argument with which its file does not tell what it takes."""
        return moving(tuple(self.extra_args))


@dataclass(slots=True)
class _Said:
    """The last value of every flag of ours as it is spelled, and all other words."""

    values: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def of(self, *flags: str) -> str | None:
        return next((self.values[flag] for flag in flags if flag in self.values), None)


def is_llama_server(program: str) -> bool:
    return _PROGRAM.search(PurePath(program.replace("\\", "/")).name) is not None


def read_arguments(arguments: Sequence[str], path: Callable[[str], str]) -> LlamaModel:
    """`path` makes a file's path ours. Raise NoCounterpart."""
    said = _sorted(arguments)
    model = LlamaModel({}, extra_args=said.left)
    for flag in said.values:
        if flag in NOT_FOR_MODELS and flag not in _SILENT:
            if flag.startswith("--models-"):
                raise NoCounterpart("serves many models by itself")
            model.notes.append(f"{flag} is left out: {NOT_FOR_MODELS[flag]}")
    _file(said, model, path)
    _files_beside(said, model, path)
    _context(said, model)
    _numbers(said, model)
    _caches(said, model)
    _switches(said, model)
    _devices(said, model)
    if model.extra_args:
        model.keys["extra_args"] = list(model.extra_args)
    return model


def _sorted(arguments: Sequence[str]) -> _Said:
    said = _Said()
    words = iter(range(len(arguments)))
    for at in words:
        word = arguments[at]
        flag = spelled(word)
        if flag is None or (key_of(flag) is None and flag not in NOT_FOR_MODELS):
            said.left.append(word)
            continue
        _, inside, value = word.partition("=")
        following = arguments[at + 1] if at + 1 < len(arguments) else ""
        if inside or flag in _ALONE:
            said.values[flag] = value
        elif flag in _MAYBE and following.lower() not in _ON | _OFF:
            said.values[flag] = "on"
        else:
            said.values[flag] = following
            next(words, None)
    return said


def _first(said: _Said, key: str) -> str | None:
    """The value of a key's flag, where all its spellings mean the same."""
    return said.of(*BY_KEY[key])


def _file(said: _Said, model: LlamaModel, path: Callable[[str], str]) -> None:
    if (file := said.of("-m", "--model")) and not said.of("-mu", "--model-url"):
        model.keys["file"] = path(file)
        model.sizes = [str(model.keys["file"])]
        return
    reference = _hub_reference(said)
    if reference is None:
        raise NoCounterpart("names no model file that could be told from its arguments")
    try:
        if not on_a_hub(reference):
            raise NoCounterpart(f"names {reference}, which is no file of a hub")
    except Misplaced as error:
        raise NoCounterpart(f"names {reference}, which {error}") from error
    model.keys |= {"file": reference, "auto_download": True}
    model.sizes = [reference]
    if said.of("--no-mmproj", "--no-mmproj-auto") is not None:
        model.notes.append("--no-mmproj is left out: a repository's projector comes with it")


def _hub_reference(said: _Said) -> str | None:
    if url := said.of("-mu", "--model-url"):
        found = _HUB_URL.fullmatch(url)
        return f"{found[1]}:{found[2]}" if found else None
    repo = said.of("-hf", "-hfr", "--hf-repo")
    if not repo:
        return None
    if file := said.of("-hff", "--hf-file"):
        return f"{repo.partition(':')[0]}:{file}"
    return repo if ":" in repo else f"{repo}:{QUANTIZATION_DEFAULT}"


def _files_beside(said: _Said, model: LlamaModel, path: Callable[[str], str]) -> None:
    if projector := said.of("-mm", "--mmproj"):
        model.keys["mmproj"] = path(projector)
    if said.of("-mmu", "--mmproj-url"):
        model.notes.append("--mmproj-url is left out: download the projector and name it as mmproj")
    if said.of("--no-mmproj-offload", "-mmdev", "--mmproj-device") is not None:
        model.notes.append("where the projector lies is left out: it goes where the layers go")
    _adapters(said, model, path)


def _adapters(said: _Said, model: LlamaModel, path: Callable[[str], str]) -> None:
    found: list[Adapter] = [path(file) for file in (said.of("--lora") or "").split(",") if file]
    for pair in (said.of("--lora-scaled") or "").split(","):
        file, _, scale = pair.rpartition(":")
        try:
            if pair:
                found.append({"file": path(file), "scale": float(scale)})
        except ValueError:  # as older builds took it, in two words
            model.notes.append(f"--lora-scaled {pair} is left out: write it as `lora` with a scale")
    if found:
        model.keys["lora"] = found


def _context(said: _Said, model: LlamaModel) -> None:
    """The server divides -c among its slots unless they share one cache."""
    slots = _whole(said, model, "slots", 1, 256)
    size = _number(said.of("-c", "--ctx-size"))
    shared = said.of("-kvu", "--kv-unified") is not None
    if slots is not None and slots > 1:
        model.keys["slots"] = slots
        if not shared:
            model.keys["unified_cache"] = False
            size = size // slots if size else size
    if not size or size < 0:
        model.notes.append(
            "no context is said: context_size is 4096 here, where llama-server takes the file's own"
        )
        return
    model.keys["context_size"] = min(size, CONTEXT_SIZE_MAX)
    if said.of("--kv-unified-per-slot"):
        model.notes.append("--kv-unified-per-slot is left out: context_size is one slot's most")


def _numbers(said: _Said, model: LlamaModel) -> None:
    layers = _first(said, "gpu_layers")
    if layers is not None and layers.isdecimal() and int(layers) < ALL_LAYERS:
        model.keys["gpu_layers"] = int(layers)
    for key, least, most in (
        ("batch", 1, 1 << 16),
        ("ubatch", 1, 1 << 16),
        ("threads", 1, 1024),
        ("host_cache_mb", 0, 1 << 30),
        ("context_checkpoints", 0, 1024),
        ("max_tokens", 1, CONTEXT_SIZE_MAX),
    ):
        number = _whole(said, model, key, least, most)
        if number is not None:
            model.keys[key] = number
    ubatch, batch = model.keys.get("ubatch"), model.keys.get("batch", BATCH_DEFAULT)
    if isinstance(ubatch, int) and isinstance(batch, int) and ubatch > batch:
        model.keys["batch"] = ubatch


def _whole(said: _Said, model: LlamaModel, key: str, least: int, most: int) -> int | None:
    """-1 leaves it to the server, as does what is not said."""
    value = _first(said, key)
    number = _number(value)
    if value is None or (number is not None and number < 0):
        if number is not None and key == "host_cache_mb":
            model.notes.append("--cache-ram without a limit is left out: host_cache_mb is counted")
        return None
    if number is None or not least <= number <= most:
        model.notes.append(f"{BY_KEY[key][0]} {value} is left out: {key} is {least} to {most}")
        return None
    return number


def _number(value: str | None) -> int | None:
    return int(value) if value is not None and re.fullmatch(r"-?\d{1,18}", value) else None


def _caches(said: _Said, model: LlamaModel) -> None:
    for key in ("cache_type_k", "cache_type_v"):
        kind = (_first(said, key) or CacheType.F16).lower()
        if kind not in set(CacheType):
            model.notes.append(f"{BY_KEY[key][0]} {kind} is left out: no such type is known here")
        elif kind != CacheType.F16:
            model.keys[key] = kind


def _switches(said: _Said, model: LlamaModel) -> None:
    if (_first(said, "flash_attention") or "on").lower() in _OFF:
        model.keys["flash_attention"] = False
        if model.keys.get("cache_type_v", "f16") not in {"f16", "bf16", "f32"}:
            del model.keys["flash_attention"]
            model.notes.append("flash attention stays on: a quantized cache_type_v needs it")
    if said.of("--no-jinja") is not None:
        model.keys["jinja"] = False
    if _first(said, "embeddings") is not None:
        model.keys["embeddings"] = True
    mode = next(_load_modes(said), None)
    if mode in set(LoadMode):
        model.keys["load_mode"] = mode
    elif mode is not None and mode != "auto":
        model.notes.append(f"--load-mode {mode} is left out: no such mode is known here")


def _load_modes(said: _Said) -> Iterator[str]:
    if mode := said.of("-lm", "--load-mode"):
        yield mode
    if said.of("-dio", "--direct-io") is not None:
        yield LoadMode.DIRECT
    if said.of("--mlock") is not None:
        yield LoadMode.MLOCK if said.of("--no-mmap") is not None else LoadMode.MMAP_MLOCK
    if said.of("--no-mmap") is not None:
        yield LoadMode.NONE


def _devices(said: _Said, model: LlamaModel) -> None:
    split = said.of("-ts", "--tensor-split")
    shares = [share for share in re.split(r"[,/]", split) if _share(share)] if split else []
    if len(shares) > 1:
        model.keys["span"] = min(len(shares), 64)
        model.notes.append(
            f"--tensor-split {split} became span: {len(shares)}: over how many GPUs; the shares "
            "follow from what is free on them"
        )
    if (mode := said.of("-sm", "--split-mode")) in {"row", "tensor"}:
        model.notes.append(f"--split-mode {mode} is left out: layers are split")
    named = said.of("-dev", "--device")
    if named == "none":
        model.keys["gpu_layers"] = 0
    elif named or said.of("-mg", "--main-gpu"):
        model.notes.append(
            "which GPU is left out: the roomiest is taken; `devices` names others, as "
            "`orchestrator doctor` shows them"
        )
    fitted = said.of("-fit", "--fit")
    if (fitted or "off").lower() in _ON or said.of("-fitt", "--fit-target", "-fitc", "--fit-ctx"):
        model.notes.append("--fit is left out: see `degrade` for what may be given up")


def _share(text: str) -> bool:
    return re.fullmatch(r"\d+(\.\d+)?|\.\d+", text) is not None and float(text) > 0
