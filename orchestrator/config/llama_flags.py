"""The flags of llama-server that a model's keys stand for, and those that are not a model's to set.

What is charged is what is launched (R15): a flag that says otherwise is refused where it is
written, with the key that says the same.
"""

import re
from collections.abc import Iterator, Mapping

from orchestrator.config.yaml_lines import Mistake

# Spelled as in the server's --help. A key's flags come in the order: what sets it, what else does.
BY_KEY: Mapping[str, tuple[str, ...]] = {
    "file": (
        *("-m", "--model", "-mu", "--model-url", "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file"),
        *("-dr", "--docker-repo"),
    ),
    "mmproj": (
        *("-mm", "--mmproj", "-mmu", "--mmproj-url", "--mmproj-auto", "--no-mmproj"),
        *("--no-mmproj-auto", "--mmproj-offload", "--no-mmproj-offload", "-mmdev"),
        "--mmproj-device",
    ),
    "lora": ("--lora", "--lora-scaled"),
    "context_size": ("-c", "--ctx-size", "--kv-unified-per-slot"),
    "slots": ("-np", "--parallel"),
    "unified_cache": ("-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified"),
    "gpu_layers": ("-ngl", "--gpu-layers", "--n-gpu-layers"),
    "cache_type_k": ("-ctk", "--cache-type-k"),
    "cache_type_v": ("-ctv", "--cache-type-v"),
    "batch": ("-b", "--batch-size"),
    "ubatch": ("-ub", "--ubatch-size"),
    "threads": ("-t", "--threads"),
    "flash_attention": ("-fa", "--flash-attn"),
    "load_mode": (
        *("-lm", "--load-mode", "--mmap", "--no-mmap", "--mlock", "-dio", "--direct-io", "-ndio"),
        "--no-direct-io",
    ),
    "host_cache_mb": ("-cram", "--cache-ram"),
    "context_checkpoints": ("-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"),
    "jinja": ("--jinja", "--no-jinja"),
    "embeddings": ("--embedding", "--embeddings"),
    "max_tokens": ("-n", "--predict", "--n-predict"),
    "devices": ("-dev", "--device", "-mg", "--main-gpu"),
    "span": ("-sm", "--split-mode", "-ts", "--tensor-split"),
    "degrade": ("-fit", "--fit", "-fitt", "--fit-target", "-fitc", "--fit-ctx"),
    "aliases": ("-a", "--alias"),
}

_LISTENS = "the daemon chooses where a server listens, and passes requests to it"
_ASKED = "the daemon asks the server over plain HTTP, without a key or a prefix"
_MEASURED = "the daemon has it on: that is how it sees the server's use"
_ROUTER = "one server serves one model here: give each a model of its own"
_REACHES = "whoever may ask the model could run programs, read files or reach addresses by it"
_PAGES = "any web page could use the server otherwise"
_ENDS = "the server would end at once"
# Not for a model to say, by no key.
NOT_FOR_MODELS: Mapping[str, str] = {
    **dict.fromkeys(("--host", "--port", "--reuse-port"), _LISTENS),
    **dict.fromkeys(
        ("--api-prefix", "--api-key", "--api-key-file", "--ssl-key-file", "--ssl-cert-file"), _ASKED
    ),
    **dict.fromkeys(("--metrics", "--slots", "--no-slots"), _MEASURED),
    **dict.fromkeys(
        (
            *("--models-dir", "--models-preset", "--models-max", "--models-autoload"),
            "--no-models-autoload",
        ),
        _ROUTER,
    ),
    **dict.fromkeys(
        (
            *("--tools", "--tools-runtime", "--mcp-servers-config", "--mcp-servers-json", "-ag"),
            *("--agent", "--ui-mcp-proxy", "--webui-mcp-proxy", "--media-path", "--path"),
        ),
        _REACHES,
    ),
    "--props": "whoever may ask the model could change it for all others",
    **dict.fromkeys(
        ("--cors-origins", "--cors-methods", "--cors-headers", "--cors-credentials"), _PAGES
    ),
    "--sleep-idle-seconds": "a model leaves by `ttl_seconds`, which the account knows of",
    **dict.fromkeys(
        ("-h", "--help", "--usage", "--version", "--list-devices", "-cl", "--cache-list"), _ENDS
    ),
}

# These change what it takes, or where, by an amount that its file does not tell.
MOVING = frozenset(
    {
        *("-ot", "--override-tensor", "-cmoe", "--cpu-moe", "-ncmoe", "--n-cpu-moe"),
        *("--moe-cache-mib", "-ncffn", "--n-cpu-ffn", "-nkvo", "--no-kv-offload", "--swa-full"),
        *("--rpc", "-md", "--model-draft", "--spec-draft-model", "-hfd", "-hfrd"),
        *("--hf-repo-draft", "--spec-draft-hf", "--spec-default", "--control-vector"),
        "--control-vector-scaled",
    }
)
_SPECULATING = "--spec-type"  # moves where the model drafts by a head or a cache of its own

_FLAG = re.compile(r"-{1,2}[A-Za-z][\w-]*")
_KEY_OF = {flag: key for key, flags in BY_KEY.items() for flag in flags}
_INSTEAD = {
    "file": "the model's `file` says it",
    "devices": "the model's `devices` says it, by ids or names",
    "span": "the model's `span` says over how many GPUs it is spread",
    "degrade": "nothing is fitted in silence: the model's `degrade` says what may be given up",
}


def spelled(word: str) -> str | None:
    """The flag that a word is, as --help spells it; None of a value."""
    name = word.partition("=")[0]
    if not _FLAG.fullmatch(name):
        return None
    return name.replace("_", "-") if name.startswith("--") else name


def key_of(flag: str) -> str | None:
    """The key of a model that says what the flag would."""
    return _KEY_OF.get(flag)


def moving(extra_args: tuple[str, ...]) -> str | None:
    """The first flag that changes what a model takes by what its file does not tell."""
    for index, word in enumerate(extra_args):
        flag = spelled(word)
        if flag in MOVING:
            return flag
        if flag == _SPECULATING and "draft" in "".join(extra_args[index : index + 2]):
            return flag
    return None


def extra_mistakes(extra_args: tuple[str, ...]) -> Iterator[Mistake]:
    """What may not be said in extra_args, and where it is said instead."""
    for index, word in enumerate(extra_args):
        where = ("extra_args", index)
        flag = spelled(word)
        if flag is None:
            if word.startswith("--") and " " in word.partition("=")[0]:
                sentence = f"holds a blank: write {word.split()[0]} and its value as two items"
                yield Mistake(where, sentence)
            elif index == 0:
                yield Mistake(where, f"begins with {word}, which is no flag")
        elif (key := key_of(flag)) is not None:
            yield Mistake(where, f"{flag} is not passed on: {_instead(key)}")
        elif flag in NOT_FOR_MODELS:
            yield Mistake(where, f"{flag} is not passed on: {NOT_FOR_MODELS[flag]}")


def _instead(key: str) -> str:
    return _INSTEAD.get(key, f"the model's `{key}` says it, and is what is charged")
