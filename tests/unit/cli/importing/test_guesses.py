"""What a model may take, by what it is called."""

import pytest

from orchestrator.cli.importing.guesses import BESIDE_MB, GUESS_MB, size_mb


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("/m/Qwen3-30B-A3B-Q4_K_M.gguf", 17_000, 21_000),
        ("/m/SmolLM2-135M-Q8_0.gguf", 1_100, 1_300),
        ("/m/Mixtral-8x7B-Q4_0.gguf", 33_000, 37_000),
        ("org/Llama-3.2-3B-Instruct-GGUF:F16", 6_500, 7_500),
        ("org/Model-8B-FP8", 9_000, 10_500),
    ],
)
def test_parameters_and_bits_tell_about_how_much(name, least, most):
    assert least < size_mb(name) < most


def test_a_file_that_is_here_tells_more_than_its_name(tmp_path):
    file = tmp_path / "a-70B.gguf"
    file.write_bytes(b"0" * (3 << 20))
    assert size_mb(str(file)) == 3 + BESIDE_MB


@pytest.mark.parametrize("names", [(), ("whisper.bin",), ("0B",), ("\0",)])
def test_a_name_that_says_nothing_is_a_usual_program(names):
    assert size_mb(*names) == GUESS_MB
