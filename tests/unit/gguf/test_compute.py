"""The buffer for intermediate results: exact where the rule is known."""

from dataclasses import replace

import pytest

from orchestrator.gguf.architecture import architecture_of
from orchestrator.gguf.cache import cells_of
from orchestrator.gguf.compute import Workload, device_compute_bytes, host_compute_bytes
from orchestrator.gguf.placement import place
from orchestrator.gguf.settings import Settings
from tests.unit.gguf.shapes import header

MIB = 1 << 20


def workload(name: str, settings: Settings) -> Workload:
    architecture = architecture_of(header(name))
    cells = cells_of(architecture, settings)
    return Workload(architecture, settings, cells, place(architecture, settings))


ASKED = Settings(context_size=4096)


@pytest.mark.parametrize(
    ("name", "settings", "planned_mib"),
    [
        ("llama31-8b", ASKED, 120.01),
        ("llama31-8b", replace(ASKED, gpu_layers=16), 104.01),
        ("llama31-8b", replace(ASKED, flash_attention=False), 308.01),
        ("qwen3-0.6b", ASKED, 30.01),
        ("qwen3-30b-a3b", ASKED, 88.01),
        ("qwen3-30b-a3b", replace(ASKED, n_cpu_moe=99), 52.01),
        ("gpt-oss-20b", ASKED, 94.77),
        ("gpt-oss-20b", replace(ASKED, flash_attention=False), 564.01),
        ("gemma3-27b", ASKED, 173.52),
        ("qwen35-9b", ASKED, 108.02),
        ("g270", replace(ASKED, flash_attention=False), 53.02),
    ],
)
def test_a_device_needs_what_the_planner_says(
    name: str, settings: Settings, planned_mib: float
) -> None:
    needed = device_compute_bytes(workload(name, settings), 0)
    assert needed / MIB == pytest.approx(planned_mib, abs=0.1)


@pytest.mark.parametrize(
    ("name", "settings", "planned_mib"),
    [
        ("llama31-8b", ASKED, 36.02),
        ("llama31-8b", replace(ASKED, gpu_layers=16), 128.02),
        ("llama31-8b", replace(ASKED, gpu_layers=0, flash_attention=False), 316.01),
        ("qwen3-30b-a3b", replace(ASKED, gpu_layers=0), 92.02),
        ("qwen3-30b-a3b", replace(ASKED, n_cpu_moe=4), 80.02),
        ("gemma3-27b", replace(ASKED, tensor_split=()), 184.03),
    ],
)
def test_the_host_needs_what_the_planner_says(
    name: str, settings: Settings, planned_mib: float
) -> None:
    needed = host_compute_bytes(workload(name, settings))
    assert needed / MIB == pytest.approx(planned_mib, abs=0.1)


def test_a_gpu_without_a_share_computes_nothing() -> None:
    idle = workload("llama31-8b", replace(ASKED, tensor_split=(1.0, 0.0)))
    assert device_compute_bytes(idle, 1) == 0


def test_several_gpus_work_on_four_batches_at_once_only_when_they_hold_everything() -> None:
    split = replace(ASKED, tensor_split=(1.0, 1.0))
    assert workload("llama31-8b", split).copies == 4
    assert workload("llama31-8b", replace(split, gpu_layers=20)).copies == 1
    assert workload("qwen3-30b-a3b", replace(split, n_cpu_moe=1)).copies == 1
    assert workload("llama31-8b", ASKED).copies == 1


def test_many_slots_need_room_for_their_logits() -> None:
    small = replace(ASKED, ubatch=32, slots=64)
    assert device_compute_bytes(workload("qwen3-0.6b", small), 0) >= 4 * 64 * 151936
