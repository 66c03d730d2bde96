"""The command line of `server.py`: a llama-server's, as far as the wheel can follow it.

The launcher reads here which flags there are, and the program parses with the same table, so that
they always agree. It imports nothing that is heavy.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from orchestrator.engines.llama.flags import Flags

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
LOAD_MODES = ("none", "mmap", "mlock", "mmap+mlock", "dio")


@dataclass(frozen=True, slots=True)
class _Option:
    names: tuple[str, ...]
    kind: type = str
    default: object = None
    choices: tuple[str, ...] | None = None


_VALUED = (
    _Option(("-m", "--model")),
    _Option(("--alias",), default=""),
    _Option(("--mmproj",)),
    _Option(("--lora",), default=""),
    _Option(("--lora-scaled",), default=""),
    _Option(("-c", "--ctx-size"), int, 4096),
    _Option(("-np", "--parallel"), int, 1),
    _Option(("-ctk", "--cache-type-k"), choices=CACHE_TYPES, default="f16"),
    _Option(("-ctv", "--cache-type-v"), choices=CACHE_TYPES, default="f16"),
    _Option(("-b", "--batch-size"), int, 2048),
    _Option(("-ub", "--ubatch-size"), int, 512),
    _Option(("-ngl", "--gpu-layers"), int, 0),
    _Option(("-sm", "--split-mode"), choices=("layer",), default="layer"),
    _Option(("-ts", "--tensor-split"), default=""),
    _Option(("-t", "--threads"), int, 1),
    _Option(("-n", "--predict"), int, -1),
    _Option(("-fa", "--flash-attn"), choices=("on", "off"), default="on"),
    _Option(("--fit",), choices=("off",), default="off"),
    _Option(("--load-mode",), choices=LOAD_MODES, default="mmap"),
    _Option(("--cache-ram",), int, 0),
    _Option(("--ctx-checkpoints",), int, 0),
    _Option(("--cors-origins",), default="localhost"),
    _Option(("--api-key-file",)),
    _Option(("--host",), default="127.0.0.1"),
    _Option(("--port",), int, 0),
)
# Given as they are, or with "no-" before the name. /metrics, /slots and no web page: always.
_SWITCHES = (
    _Option(("--kv-unified",), bool, default=False),
    _Option(("--mmproj-offload",), bool, default=True),
    _Option(("--jinja",), bool, default=True),
    _Option(("--metrics",), bool, default=True),
    _Option(("--slots",), bool, default=True),
    _Option(("--embeddings",), bool, default=False),
    _Option(("--ui",), bool, default=False),
)

_valued = frozenset(chain.from_iterable(option.names for option in _VALUED))
_switches = frozenset(chain.from_iterable(option.names for option in _SWITCHES))

FLAGS = Flags(
    names=_valued | _switches | {f"--no-{name.removeprefix('--')}" for name in _switches},
    valued=_valued,
    listing=frozenset({"--lora-scaled"}),
)


def adapters_of(options: argparse.Namespace) -> list[tuple[str, float]]:
    """Files with how much of each is applied, in their order. Raise ValueError for what is none."""
    full = [(path, 1.0) for path in options.lora.split(",") if path]
    pairs = (pair.rpartition(":") for pair in options.lora_scaled.split(",") if pair)
    return full + [(path, float(scale)) for path, _, scale in pairs]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Exits with code 2 and a line that says what is wrong with it."""
    parser = argparse.ArgumentParser(prog="xllamacpp_server", allow_abbrev=False)
    for option in _VALUED:
        parser.add_argument(
            *option.names,
            type=option.kind,
            default=option.default,
            choices=option.choices,
            required="--model" in option.names,
        )
    for option in _SWITCHES:
        parser.add_argument(
            *option.names, action=argparse.BooleanOptionalAction, default=option.default
        )
    return parser.parse_args(argv)
