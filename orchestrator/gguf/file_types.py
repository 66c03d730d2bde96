"""What a model file calls its quantization, as people write it: `Q4_K_M`."""

from collections import Counter

from orchestrator.gguf.header import Header
from orchestrator.gguf.quantization import BLOCK_TYPES

# The numbers of `general.file_type`, which are the file format's.
FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
}
UNKNOWN_TYPE = "unknown"


def file_type(header: Header) -> str:
    """As the file says; where it does not, the type that most of its bytes are of."""
    said = header.metadata.get("general.file_type")
    if isinstance(said, int) and said in FILE_TYPES:
        return FILE_TYPES[said]
    sizes: Counter[int] = Counter()
    for tensor in header.tensors:
        sizes[tensor.type_id] += tensor.size_bytes
    most = max(sizes, key=lambda type_id: sizes[type_id], default=None)
    return BLOCK_TYPES[most].name.upper() if most in BLOCK_TYPES else UNKNOWN_TYPE
