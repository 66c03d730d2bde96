"""What llama.cpp knows about an architecture by its name alone, because no metadata says it.

Facts as of llama.cpp b11434: which layers look at a window only, which carry a recurrent state
instead of a cache, and which architectures are understood at all.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WindowPattern:
    """One layer in `period` sees everything, the first or the last of them; the others a window."""

    period: int
    full_first: bool = False
    default_window: int = 0  # where the file need not name it

    def is_sliding(self, layer: int) -> bool:
        place = layer % self.period
        return place != 0 if self.full_first else place < self.period - 1


WINDOW_PATTERNS = {
    "afmoe": WindowPattern(4),
    "cohere2": WindowPattern(4),
    "cohere2moe": WindowPattern(4, full_first=True),
    "exaone-moe": WindowPattern(4, default_window=128),
    "exaone4": WindowPattern(4, default_window=4096),
    "gemma2": WindowPattern(2, default_window=4096),
    "gemma3": WindowPattern(6),
    "gemma3n": WindowPattern(5),
    "gpt-oss": WindowPattern(2),
    "laguna": WindowPattern(4, full_first=True),
    "llama4": WindowPattern(4, default_window=8192),
    "mellum": WindowPattern(4),
    "muse-glimmer": WindowPattern(4),
    "olmo2": WindowPattern(4),
    "plamo3": WindowPattern(8),
    "smallthinker": WindowPattern(4, full_first=True, default_window=4096),
}
# These say layer by layer which of them slide.
WINDOW_BY_ARRAY = frozenset(
    {"gemma4", "granite_swa", "maple", "mimo2", "spark2_5", "step35", *WINDOW_PATTERNS}
)
# Whatever window these name, llama.cpp uses its own.
FIXED_WINDOW = frozenset({"llama4", "smallthinker"})

RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
# A layer without key-value heads carries a state instead.
RECURRENT_WITHOUT_HEADS = frozenset(
    {
        "bailingmoe3",
        "granitehybrid",
        "jamba",
        "kimi-linear",
        "lfm2",
        "lfm2moe",
        "nemotron_h",
        "nemotron_h_moe",
        "plamo2",
    }
)
# Every n-th layer attends, the others carry a state.
FULL_ATTENTION_INTERVAL = {"minimax-01": 8, "qwen35": 4, "qwen35moe": 4, "qwen3next": 4}
# Every layer has both.
RECURRENT_AND_ATTENDING = frozenset({"falcon-h1"})
# In these a layer is attention, state or feed-forward, never two of them.
ONE_BLOCK_PER_LAYER = frozenset({"nemotron_h", "nemotron_h_moe"})

CACHELESS = frozenset(
    {
        "bert",
        "clef",
        "dream",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llada",
        "llada-moe",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "rnd1",
        "wavtokenizer-dec",
    }
)
# One cache of one number per head and token, as GPT-2 has it.
ORDINARY = frozenset(
    {
        "apertus",
        "arcee",
        "arctic",
        "baichuan",
        "bailingmoe",
        "bailingmoe2",
        "bitnet",
        "bloom",
        "chameleon",
        "chatglm",
        "codeshell",
        "cogvlm",
        "command-r",
        "dbrx",
        "deci",
        "deepseek",
        "deepseek2",
        "deepseek2-ocr",
        "dots1",
        "ernie4_5",
        "ernie4_5-moe",
        "exaone",
        "falcon",
        "gemma",
        "glm4",
        "glm4moe",
        "gpt2",
        "gptj",
        "gptneox",
        "granite",
        "granitemoe",
        "grok",
        "grovemoe",
        "hunyuan-dense",
        "hunyuan-moe",
        "hunyuan_vl",
        "hy_v3",
        "internlm2",
        "jais",
        "jais2",
        "llama",
        "llama-embed",
        "maincoder",
        "minicpm",
        "minicpm3",
        "minimax-m2",
        "mistral3",
        "mistral4",
        "mpt",
        "nemotron",
        "olmo",
        "olmoe",
        "openelm",
        "orion",
        "paddleocr",
        "pangu-embedded",
        "phi2",
        "phi3",
        "phimoe",
        "plamo",
        "plm",
        "qwen",
        "qwen2",
        "qwen2moe",
        "qwen2vl",
        "qwen3",
        "qwen3moe",
        "qwen3vl",
        "qwen3vlmoe",
        "refact",
        "seed_oss",
        "smollm3",
        "stablelm",
        "starcoder",
        "starcoder2",
        "talkie",
        "xverse",
    }
)
# Not among these: what has indexers, compressors or states that follow rules of their own
# (deepseek32, deepseek4, glm-dsa, kimi-k3, minimax-m3, t5, ...), and whatever comes next.
UNDERSTOOD = (
    ORDINARY
    | CACHELESS
    | WINDOW_BY_ARRAY
    | RECURRENT
    | RECURRENT_WITHOUT_HEADS
    | RECURRENT_AND_ATTENDING
    | FULL_ATTENTION_INTERVAL.keys()
)
