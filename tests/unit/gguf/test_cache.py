"""What a context costs: the exact vectors, and the ways to divide it."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.gguf.architecture import Architecture, architecture_of
from orchestrator.gguf.cache import cells_of, checkpoint_bytes, context_bytes
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.reader import read_header
from orchestrator.gguf.settings import Settings
from tests.unit.gguf.gguf_files import write_model
from tests.unit.gguf.shapes import header

MIB = 1 << 20


def context_of(architecture: Architecture, settings: Settings) -> int:
    cells = cells_of(architecture, settings)
    return sum(context_bytes(layer, cells, settings) for layer in architecture.layers)


def per_token(architecture: Architecture, settings: Settings) -> float:
    """What one more token of context costs in all layers."""
    less, more = (replace(settings, context_size=size) for size in (4096, 8192))
    return (context_of(architecture, more) - context_of(architecture, less)) / 4096


def test_28_layers_with_8_heads_of_128_at_4096_tokens_take_448_mib(tmp_path: Path) -> None:
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 28,
        "llama.embedding_length": 3072,
        "llama.attention.head_count": 24,
        "llama.attention.head_count_kv": 8,
    }
    architecture = architecture_of(read_header(write_model(tmp_path / "m.gguf", metadata)))
    assert context_of(architecture, Settings(context_size=4096)) == 448 * MIB


def test_qwen3_30b_costs_96_kib_per_token() -> None:
    architecture = architecture_of(header("qwen3-30b-a3b"))
    assert per_token(architecture, Settings()) == 96 * 1024


def test_a_quantized_cache_costs_its_blocks() -> None:
    architecture = architecture_of(header("qwen3-30b-a3b"))
    settings = Settings(cache_type_k="q8_0", cache_type_v="q4_0")
    assert per_token(architecture, settings) == 48 * 4 * 128 * (34 + 18) // 32


@pytest.mark.parametrize(("asked", "cells"), [(1, 256), (256, 256), (257, 512), (4096, 4096)])
def test_contexts_are_padded(asked: int, cells: int) -> None:
    settings = Settings(context_size=asked)
    assert cells_of(architecture_of(header("llama31-8b")), settings).full == cells


def test_without_a_size_the_context_is_what_the_model_was_trained_for() -> None:
    assert cells_of(architecture_of(header("llama31-8b")), Settings()).full == 131072


def test_slots_share_one_cache_or_divide_it() -> None:
    architecture = architecture_of(header("llama31-8b"))
    shared = cells_of(architecture, Settings(context_size=4000, slots=3))
    split = cells_of(architecture, Settings(context_size=4000, slots=3, unified_cache=False))
    assert (shared.full, shared.streams) == (4096, 1)
    assert (split.full, split.streams) == (1536, 3)


def test_a_window_is_kept_for_every_slot_that_shares_the_cache() -> None:
    architecture = architecture_of(header("g270"))  # looks back 512 tokens
    one = cells_of(architecture, Settings(context_size=32768))
    four = cells_of(architecture, Settings(context_size=32768, slots=4))
    short = cells_of(architecture, Settings(context_size=512))
    assert (one.sliding, four.sliding, short.sliding) == (1024, 2560, 512)


def test_a_state_is_kept_for_every_slot_and_grows_with_nothing_else() -> None:
    architecture = architecture_of(header("qwen35-9b"))
    state = [layer for layer in architecture.layers if not layer.attends]
    settings = Settings(context_size=2048)
    costs = {
        (slots, size): sum(
            context_bytes(layer, cells_of(architecture, asked), asked) for layer in state
        )
        for slots, size in ((1, 2048), (1, 65536), (4, 2048))
        for asked in [replace(settings, slots=slots, context_size=size)]
    }
    assert costs[1, 2048] == costs[1, 65536] == costs[4, 2048] // 4


def test_a_model_that_keeps_nothing_needs_places_for_one_batch(tmp_path: Path) -> None:
    metadata = {
        "general.architecture": "bert",
        "bert.block_count": 12,
        "bert.embedding_length": 768,
        "bert.attention.head_count": 12,
    }
    architecture = architecture_of(read_header(write_model(tmp_path / "m.gguf", metadata)))
    assert context_of(architecture, Settings(context_size=8192)) == 0
    assert cells_of(architecture, Settings(context_size=8192)).full == 512


def test_a_checkpoint_copies_what_a_window_forgets_and_nothing_else() -> None:
    """15 of 18 layers of Gemma 3 270M slide over 512 tokens: measured at 7.5 MiB a copy."""
    gemma = architecture_of(header("g270"))
    assert checkpoint_bytes(gemma, Settings(context_size=4096)) == 7.5 * MIB
    assert checkpoint_bytes(gemma, Settings(context_size=256)) == 3.75 * MIB
    assert checkpoint_bytes(architecture_of(header("llama31-8b")), Settings()) == 0


def test_a_checkpoint_of_a_recurrent_model_is_its_state() -> None:
    state = checkpoint_bytes(architecture_of(header("qwen35-9b")), Settings(context_size=4096))
    assert state == checkpoint_bytes(architecture_of(header("qwen35-9b")), Settings())
    assert state > 10 * MIB


def test_checkpoints_are_charged_to_the_host_for_every_slot() -> None:
    asked = Settings(context_size=8192, slots=4, checkpoints=3)
    with_them = estimate(header("g270"), asked)
    without = estimate(header("g270"), replace(asked, checkpoints=0))
    assert with_them.host.total_bytes - without.host.total_bytes == 12 * 7.5 * MIB
    assert with_them.host.planned_bytes == without.host.planned_bytes, "no plan contains them"
    assert with_them.devices == without.devices
