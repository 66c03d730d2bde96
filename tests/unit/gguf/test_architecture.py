"""From metadata to what each layer keeps."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.gguf.architecture import Architecture, architecture_of
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.reader import read_header
from tests.unit.gguf.gguf_files import F16, TensorShape, write_model
from tests.unit.gguf.shapes import header


def described(
    folder: Path, name: str, tensors: list[TensorShape] | None = None, **own: Any
) -> Architecture:
    """The architecture of a model with these hyperparameters; `__` in a key is a dot."""
    basic = {"block_count": 4, "embedding_length": 64, "attention.head_count": 4}
    given = {key.replace("__", "."): value for key, value in own.items()}
    prefixed = {f"{name}.{key}": value for key, value in (basic | given).items()}
    metadata = {"general.architecture": name} | prefixed
    return architecture_of(read_header(write_model(folder / "m.gguf", metadata, tensors or [])))


def test_heads_are_as_wide_as_the_embedding_allows(tmp_path: Path) -> None:
    layer = described(tmp_path, "llama", attention__head_count_kv=2).layers[0]
    assert (layer.key_width, layer.value_width, layer.query_width) == (32, 32, 64)


def test_explicit_head_lengths_win(tmp_path: Path) -> None:
    own = {"attention__key_length": 128, "attention__value_length": 64}
    layer = described(tmp_path, "llama", **own).layers[0]
    assert (layer.key_width, layer.value_width) == (512, 256)


def test_a_compressed_cache_keeps_no_values() -> None:
    layer = architecture_of(header("dsv2-lite")).layers[0]
    assert (layer.key_width, layer.value_width) == (576, 0)


@pytest.mark.parametrize(
    ("name", "sliding_of_first_six"),
    [("g270", [1, 1, 1, 1, 1, 0]), ("gpt-oss-20b", [1, 0] * 3), ("llama31-8b", [0] * 6)],
)
def test_which_layers_slide(name: str, sliding_of_first_six: list[int]) -> None:
    layers = architecture_of(header(name)).layers
    assert [int(layer.sliding) for layer in layers[:6]] == sliding_of_first_six


def test_a_pattern_in_the_file_wins_over_the_familys(tmp_path: Path) -> None:
    own = {"attention__sliding_window": 8, "attention__sliding_window_pattern": [0, 1, 1, 0]}
    layers = described(tmp_path, "gemma3", **own).layers
    assert [layer.sliding for layer in layers] == [False, True, True, False]


def test_a_window_that_the_family_does_not_use_is_ignored(tmp_path: Path) -> None:
    assert not described(tmp_path, "qwen2", attention__sliding_window=8).slides


def test_layers_between_the_attending_ones_carry_a_state() -> None:
    layers = architecture_of(header("qwen35-9b")).layers
    assert [layer.attends for layer in layers[:4]] == [False, False, False, True]
    # Three columns of a convolution over 8192 channels, and 128 x 4096 of the state itself.
    assert [layer.state for layer in layers[:4]] == [548864, 548864, 548864, 0]


def test_layers_without_heads_carry_a_state_in_hybrids_only(tmp_path: Path) -> None:
    own = {"attention__head_count_kv": [0, 4, 0, 4], "ssm__inner_size": 8, "ssm__state_size": 4}
    hybrid = described(tmp_path, "jamba", **own).layers
    assert [layer.state for layer in hybrid] == [32, 0, 32, 0]
    assert not described(tmp_path, "deci", **own).recurrent


def test_layers_that_only_predict_are_not_loaded(tmp_path: Path) -> None:
    architecture = described(tmp_path, "glm4moe", nextn_predict_layers=1)
    assert (len(architecture.layers), len(architecture.loaded_layers)) == (4, 3)


def test_tensors_are_with_their_layers(tmp_path: Path) -> None:
    tensors: list[TensorShape] = [
        ("token_embd.weight", (64, 100), F16),
        ("blk.2.ffn_up.weight", (64, 256), F16),
    ]
    architecture = described(tmp_path, "llama", tensors)
    assert architecture.vocabulary == 100
    assert [len(layer.tensors) for layer in architecture.layers] == [0, 0, 1, 0]
    assert architecture.layers[2].width(".ffn_up.weight") == 256
    assert architecture.layers[2].row(".ffn_up.weight") == 64
    assert architecture.layers[0].width(".ffn_up.weight") == 0


@pytest.mark.parametrize(
    ("own", "complaint"),
    [
        ({"block_count": 0}, "has 0 layers"),
        ({"block_count": 4_000_000_000}, "has 4000000000 layers"),
        ({"block_count": "four"}, "block_count should be a whole number"),
        ({"embedding_length": 4_000_000_000}, "out of reason"),
        ({"attention__head_count": [4, 4, 4, 1 << 31]}, "out of reason"),
        ({"attention__head_count": [4, 4]}, "should be 4 whole numbers"),
    ],
)
def test_absurd_hyperparameters_are_refused(
    tmp_path: Path, own: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(GgufError, match=complaint):
        described(tmp_path, "llama", **own)


def test_an_architecture_from_the_future_is_not_claimed_to_be_understood(tmp_path: Path) -> None:
    assert described(tmp_path, "llama").understood
    assert not described(tmp_path, "llama9").understood
    assert not described(tmp_path, "deepseek4").understood
