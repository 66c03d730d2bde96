"""Bytes of rows, and the names of cache types."""

import pytest

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.quantization import BLOCK_TYPES, cache_type, is_quantized_cache


@pytest.mark.parametrize(
    ("type_id", "elements", "expected"),
    [(0, 10, 40), (1, 10, 20), (12, 4096, 2304), (14, 4096, 3360), (8, 128, 136), (39, 2880, 1530)],
)
def test_a_row_takes_its_blocks(type_id: int, elements: int, expected: int) -> None:
    assert BLOCK_TYPES[type_id].row_bytes(elements) == expected


def test_a_last_block_that_is_not_full_is_paid_whole() -> None:
    assert BLOCK_TYPES[8].row_bytes(33) == 68


def test_an_unknown_cache_type_is_answered_with_those_that_exist() -> None:
    with pytest.raises(GgufError, match=r"no cache type 'q9_9': use one of f32, f16"):
        cache_type("q9_9")


def test_plain_cache_types_are_not_quantized() -> None:
    assert [is_quantized_cache(name) for name in ("f16", "bf16", "f32", "q8_0", "iq4_nl")] == [
        False,
        False,
        False,
        True,
        True,
    ]
