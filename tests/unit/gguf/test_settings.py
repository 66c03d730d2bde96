"""Settings that no server would start with are refused where they are made."""

from typing import Any

import pytest

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.settings import GPU_OVERHEAD_BYTES, Settings


def test_defaults_are_one_slot_on_one_gpu() -> None:
    settings = Settings()
    assert (settings.slots, settings.tensor_split, settings.gpu_layers) == (1, (1.0,), "all")
    assert settings.gpu_overhead_bytes == GPU_OVERHEAD_BYTES == 600 << 20


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"context_size": -1}, "context_size is -1"),
        ({"context_size": 1 << 40}, "context_size is 1099511627776"),
        ({"slots": 0}, "slots is 0: 1 to 256"),
        ({"slots": 257}, "slots is 257"),
        ({"ubatch": 0}, "ubatch is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"gpu_layers": -1}, "gpu_layers is -1: 0 to 10000"),
        ({"gpu_layers": 1 << 20}, "gpu_layers is 1048576"),
        (
            {"cache_type_v": "q8_0", "flash_attention": False},
            "cache_type_v q8_0 needs flash attention",
        ),
        ({"tensor_split": (0.0, 0.0)}, "every GPU a share of 0"),
        ({"tensor_split": (2.0, -1.0)}, "a share below 0"),
        ({"tensor_split": (float("nan"),)}, "share"),
        ({"tensor_split": (1.0,) * 65}, "tensor_split is 65"),
    ],
)
def test_refuses_what_cannot_be_served(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(GgufError, match=complaint):
        Settings(**wrong)


def test_only_the_values_of_a_quantized_cache_need_flash_attention() -> None:
    assert not Settings(cache_type_k="q8_0", flash_attention=False).flash_attention
    assert not Settings(cache_type_v="bf16", flash_attention=False).flash_attention
