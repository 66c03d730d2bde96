"""The logs are those of two real builds given broken inputs; those of CUDA follow its formats."""

from pathlib import Path

import pytest

from orchestrator.core.values.failures import FailureReason, ShortOf
from orchestrator.core.values.vram import MiB
from orchestrator.engines.llama.log import classify
from orchestrator.ports import Exit

LOGS = Path(__file__).parents[3] / "data" / "llama_logs"
R = FailureReason
REASONS = {
    "truncated_header": R.MODEL_FILE,
    "truncated_tensors": R.MODEL_FILE,
    "text_file": R.MODEL_FILE,
    "empty_file": R.MODEL_FILE,
    "newer_version": R.MODEL_FILE,
    "unknown_architecture": R.MODEL_FILE,
    "missing_file": R.MODEL_FILE,
    "broken_projector": R.MODEL_FILE,
    "broken_adapter": R.MODEL_FILE,
    "unknown_flag": R.ARGUMENTS,
    "bad_value": R.ARGUMENTS,
    "bad_cache_type": R.ARGUMENTS,
    "port_taken": R.PORT,
    "context_too_large": R.OUT_OF_MEMORY,
    "no_room_for_cache": R.OUT_OF_MEMORY,
    "little_room": R.OUT_OF_MEMORY,
    "no_room_for_weights": R.OUT_OF_MEMORY,
}


def read(case: str, build: str = "b11434") -> tuple[str, ...]:
    return tuple((LOGS / f"{case}.{build}.txt").read_text().splitlines())


def of(*lines: str, code: int | None = 1, out_of_memory: bool = False):
    return classify(Exit(code=code, out_of_memory=out_of_memory, log_tail=lines))


@pytest.mark.parametrize("build", ["b10434", "b11434"])
@pytest.mark.parametrize("case", sorted(REASONS))
def test_real_logs_have_a_name_a_sentence_and_a_way_out(case, build):
    failure = of(*read(case, build))
    assert failure.reason is REASONS[case]
    assert failure.detail
    assert failure.remedy
    assert failure.log_tail == read(case, build)


def test_every_kept_log_is_judged():
    assert {path.name.split(".")[0] for path in LOGS.iterdir()} == set(REASONS)


def test_the_sentence_is_the_line_nearest_to_the_cause():
    assert of(*read("text_file")).detail == (
        "The model file cannot be loaded: gguf_init_from_reader: invalid magic characters:"
        " 'this', expected 'GGUF'"
    )
    assert "1440.00 MB" in of(*read("no_room_for_cache")).detail


def test_a_log_says_what_was_asked_for_in_vain():
    assert of(*read("no_room_for_cache")).asked_bytes == 1440 * MiB
    assert of("CUDA error: out of memory").asked_bytes is None


def test_weights_that_do_not_fit_say_nothing_about_what_is_missing():
    assert of(*read("no_room_for_weights", "b10434")).asked_bytes is None
    assert of(*read("little_room", "b10434")).asked_bytes is None


def test_cuda_out_of_memory():
    failure = of(
        "E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 512.00 MiB on device 0:"
        " cudaMalloc failed: out of memory",
        "E graph_reserve: failed to allocate compute buffers",
    )
    assert failure.reason is R.OUT_OF_MEMORY
    assert failure.asked_bytes == 512 * MiB


def test_vulkan_out_of_memory():
    failure = of("ggml_vulkan: Device memory allocation of size 1073741824 failed.")
    assert (failure.reason, failure.asked_bytes) == (R.OUT_OF_MEMORY, 1024 * MiB)


def test_killed_for_host_memory():
    assert of("loading", code=-9, out_of_memory=True).reason is R.OUT_OF_MEMORY


@pytest.mark.parametrize("code", [-4, 132])
def test_a_binary_for_another_processor(code):
    failure = of(code=code)
    assert failure.reason is R.BINARY_MISSING
    assert "another processor" in failure.detail


def test_a_missing_library():
    line = "llama-server: error while loading shared libraries: libcuda.so.1: cannot open"
    assert of(line, code=127).reason is R.BINARY_MISSING


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended by itself with exit code 0"),
        (3, "ended by itself with exit code 3"),
        (-15, "was ended by SIGTERM"),
        (139, "was ended by SIGSEGV"),
        (None, "The server ended;"),
        (250, "ended by itself with exit code 250"),
    ],
)
def test_an_end_nobody_explains_is_told_as_it_is(code, words):
    failure = of("serving", code=code)
    assert failure.reason is R.EXITED
    assert words in failure.detail
    assert "serving" in failure.detail


def test_an_end_without_a_word():
    assert of(code=1).detail == "The server ended by itself with exit code 1; its log is empty."


def test_a_log_line_without_end_does_not_make_a_sentence_without_end():
    assert len(of("error: " + "x" * 100_000).detail) < 500


@pytest.mark.parametrize("build", ["b10434", "b11434"])
@pytest.mark.parametrize(
    ("case", "short_of"),
    [("context_too_large", ShortOf.CONTEXT), ("no_room_for_cache", ShortOf.CONTEXT)],
)
def test_real_logs_say_what_there_was_no_memory_for(case, build, short_of):
    failure = of(*read(case, build))
    assert failure.short_of is short_of
    assert "ran out of memory for its context" in failure.detail


@pytest.mark.parametrize(
    ("lines", "short_of"),
    [
        (
            [
                (
                    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 512.00 MiB on device 0: "
                    "cudaMalloc failed: out of memory"
                ),
                "alloc_tensor_range: failed to allocate CUDA0 buffer of size 536870912",
                "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
            ],
            ShortOf.WEIGHTS,
        ),
        (
            [
                "ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 314572800",
                "graph_reserve: failed to allocate compute buffers",
            ],
            ShortOf.COMPUTE,
        ),
        (
            [
                "clip_model_loader: failed to allocate CUDA0 buffer of size 904572800",
                "srv load_model: failed to load multimodal model, 'p.gguf'",
            ],
            ShortOf.PROJECTOR,
        ),
        (
            [
                "0.02.067.742 I srv  llama_server: model loaded",
                "CUDA error: out of memory",
            ],
            ShortOf.RUN_TIME,
        ),
        (["CUDA error: out of memory"], None),
    ],
)
def test_what_there_was_no_memory_for(lines, short_of):
    failure = of(*lines)
    assert (failure.reason, failure.short_of) == (R.OUT_OF_MEMORY, short_of)


def test_other_failures_are_short_of_nothing():
    assert of(*read("text_file")).short_of is None


def test_a_program_on_pytorch_that_ran_out_of_memory_says_so():
    line = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB."
    assert of(line).reason is R.OUT_OF_MEMORY
    assert of(code=3).reason is R.EXITED


def test_a_limit_of_host_ram_is_not_a_lack_of_vram():
    killed = Exit(code=137, out_of_memory=True, log_tail=("load_tensors: loading",))
    limited = classify(killed, memory_mb=64)
    assert (limited.reason, limited.log_tail) == (R.EXITED, killed.log_tail)
    assert "64 MB" in limited.detail
    assert "memory_mb" in limited.remedy
    assert classify(killed).reason is R.OUT_OF_MEMORY
    assert classify(Exit(code=1, log_tail=("std::bad_alloc",)), memory_mb=64).reason is (
        R.OUT_OF_MEMORY
    )
