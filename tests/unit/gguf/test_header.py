"""Typed access to what a header holds."""

from pathlib import Path

import pytest

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Header, Part, Skipped, Tensor

METADATA = {
    "general.architecture": "llama",
    "llama.block_count": 2,
    "llama.attention.head_count_kv": (8, 0),
    "llama.rope.freq_base": 1e4,
    "tokenizer.chat_template": Skipped(9000),
}


def a_header(size_bytes: int = 100, whole_bytes: int = 100) -> Header:
    part = Part(Path("m.gguf"), size_bytes, 0, whole_bytes)
    tensors = (Tensor("a", (4, 3), 0, 48), Tensor("b", (4,), 0, 16))
    return Header(Path("m.gguf"), "llama", METADATA, tensors, (part,))


def test_numbers_are_found_under_the_architecture() -> None:
    assert a_header().integer("block_count") == 2


def test_an_absent_number_is_its_default_or_an_error_that_names_it() -> None:
    assert a_header().integer("expert_count", 0) == 0
    with pytest.raises(GgufError, match=r"llama\.expert_count should be a whole number, is absent"):
        a_header().integer("expert_count")


def test_a_number_of_another_kind_is_an_error_even_with_a_default() -> None:
    with pytest.raises(GgufError, match=r"rope\.freq_base should be a whole number, is 10000\.0"):
        a_header().integer("rope.freq_base", 1)


def test_one_number_for_all_layers_or_one_for_each() -> None:
    assert a_header().per_layer("block_count", 3) == (2, 2, 2)
    assert a_header().per_layer("attention.head_count_kv", 2) == (8, 0)


def test_too_few_numbers_for_the_layers_are_an_error() -> None:
    with pytest.raises(GgufError, match="should be 3 whole numbers"):
        a_header().per_layer("attention.head_count_kv", 3)


def test_text_is_empty_where_there_is_none() -> None:
    assert a_header().text("general.architecture") == "llama"
    assert a_header().text("tokenizer.chat_template") == ""


def test_a_whole_file_is_accepted_and_a_truncated_one_is_named() -> None:
    a_header().require_whole_file()
    cut = a_header(size_bytes=60)
    assert cut.missing_bytes == 40
    with pytest.raises(GgufError, match=r"m\.gguf is truncated: it has 60 of 100 bytes"):
        cut.require_whole_file()


def test_sums_and_widths() -> None:
    header = a_header()
    assert (header.file_bytes, header.tensor_bytes) == (100, 64)
    assert [tensor.width for tensor in header.tensors] == [3, 4]
