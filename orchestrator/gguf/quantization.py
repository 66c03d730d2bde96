"""How many bytes ggml needs for a row of numbers, by type.

Every ggml type stores numbers in blocks of a fixed count and a fixed size; plain types are blocks
of one. The numbers of the types are the file format's.
"""

from dataclasses import dataclass

from orchestrator.gguf.errors import GgufError


@dataclass(frozen=True, slots=True)
class BlockType:
    """`elements` numbers are stored together in `block_bytes`."""

    name: str
    elements: int
    block_bytes: int

    def row_bytes(self, elements: int) -> int:
        """Bytes of one row; a row that does not fill its last block occupies the whole of it."""
        return -(-elements // self.elements) * self.block_bytes


BLOCK_TYPES: dict[int, BlockType] = {
    0: BlockType("f32", 1, 4),
    1: BlockType("f16", 1, 2),
    2: BlockType("q4_0", 32, 18),
    3: BlockType("q4_1", 32, 20),
    6: BlockType("q5_0", 32, 22),
    7: BlockType("q5_1", 32, 24),
    8: BlockType("q8_0", 32, 34),
    9: BlockType("q8_1", 32, 36),
    10: BlockType("q2_k", 256, 84),
    11: BlockType("q3_k", 256, 110),
    12: BlockType("q4_k", 256, 144),
    13: BlockType("q5_k", 256, 176),
    14: BlockType("q6_k", 256, 210),
    15: BlockType("q8_k", 256, 292),
    16: BlockType("iq2_xxs", 256, 66),
    17: BlockType("iq2_xs", 256, 74),
    18: BlockType("iq3_xxs", 256, 98),
    19: BlockType("iq1_s", 256, 50),
    20: BlockType("iq4_nl", 32, 18),
    21: BlockType("iq3_s", 256, 110),
    22: BlockType("iq2_s", 256, 82),
    23: BlockType("iq4_xs", 256, 136),
    24: BlockType("i8", 1, 1),
    25: BlockType("i16", 1, 2),
    26: BlockType("i32", 1, 4),
    27: BlockType("i64", 1, 8),
    28: BlockType("f64", 1, 8),
    29: BlockType("iq1_m", 256, 56),
    30: BlockType("bf16", 1, 2),
    34: BlockType("tq1_0", 256, 54),
    35: BlockType("tq2_0", 256, 66),
    39: BlockType("mxfp4", 32, 17),
    40: BlockType("nvfp4", 64, 36),
    41: BlockType("q1_0", 128, 18),
    42: BlockType("q2_0", 64, 18),
}

# What `--cache-type-k` and `--cache-type-v` accept.
_CACHE_NAMES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
CACHE_TYPES: dict[str, BlockType] = {
    block.name: block for block in BLOCK_TYPES.values() if block.name in _CACHE_NAMES
}
_PLAIN_CACHE_TYPES = frozenset({"f32", "f16", "bf16"})


def cache_type(name: str) -> BlockType:
    """The block type of a cache type's name, or `GgufError` with the names that exist."""
    try:
        return CACHE_TYPES[name]
    except KeyError:
        raise GgufError(
            f"there is no cache type {name!r}: use one of {', '.join(_CACHE_NAMES)}"
        ) from None


def is_quantized_cache(name: str) -> bool:
    return name not in _PLAIN_CACHE_TYPES
