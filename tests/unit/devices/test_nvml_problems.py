import pynvml
import pytest

from orchestrator.devices.nvml_problems import problem_of


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (pynvml.NVML_ERROR_NO_PERMISSION, "/dev/nvidia"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "not loaded"),
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "libnvidia-ml.so.1"),
        (pynvml.NVML_ERROR_GPU_IS_LOST, "Xid"),
        (pynvml.NVML_ERROR_RESET_REQUIRED, "reset"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "versions"),
        (pynvml.NVML_ERROR_UNKNOWN, "unknown error"),
    ],
)
def test_codes_are_those_of_the_binding(code, word):
    assert word in problem_of(code, "")


def test_code_without_a_sentence_is_told_in_the_drivers_words():
    assert "Corrupted infoROM" in problem_of(
        pynvml.NVML_ERROR_CORRUPTED_INFOROM, "Corrupted infoROM"
    )
