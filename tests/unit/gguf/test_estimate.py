"""The prediction against what llama.cpp's own planner answered."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as fuzz_settings
from hypothesis import strategies as st

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.footprint import MIB, Method, Share
from orchestrator.gguf.header import Header
from orchestrator.gguf.quantization import CACHE_TYPES
from orchestrator.gguf.reader import read_header
from orchestrator.gguf.settings import PLAIN_CACHES, Companion, Settings
from tests.unit.gguf.gguf_files import F16, Q4_K, TensorShape, write_model
from tests.unit.gguf.shapes import FOOTPRINTS, NAMES, header, rows, settings, write_shape

ORACLE: list[dict[str, Any]] = json.loads((FOOTPRINTS / "oracle.json").read_text())


def as_asked(row: dict[str, Any]) -> Settings:
    layers = row["n_gpu_layers"]
    return Settings(
        context_size=row["n_ctx"],
        slots=row["n_parallel"],
        unified_cache=row["kv_unified"],
        cache_type_k=row["cache_type"],
        cache_type_v=row["cache_type"],
        ubatch=row["n_ubatch"],
        gpu_layers="all" if layers == 999 else layers,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("whole", "tolerance"), [(True, 0.01), (False, 0.02)])
def test_meets_the_planner(name: str, whole: bool, tolerance: float) -> None:
    asked = [r for r in ORACLE if r["model"] == name and (r["n_gpu_layers"] == 999) == whole]
    assert len(asked) == (54 if whole else 9)
    for row in asked:
        answer = estimate(header(name), as_asked(row)).to_json()
        planned = row["model_mib"] + row["context_mib"] + row["compute_mib"]
        assert answer["weights_mib"] == pytest.approx(row["model_mib"], abs=0.1), row
        assert answer["context_mib"] == pytest.approx(row["context_mib"], abs=0.1), row
        assert answer["device_mib"] == pytest.approx(planned, rel=tolerance), row


def test_the_oracle_is_whole() -> None:
    assert len(ORACLE) == 504


def within(share: Share, planned: dict[str, float], low: float, high: float) -> bool:
    """Near enough to the planner's answer, of which each of three parts was rounded up."""
    total = sum(planned.values())
    return total * (1 - low) - 3 <= share.planned_bytes / MIB <= total * (1 + high)


@pytest.mark.parametrize("row", rows("placement_oracle"), ids=lambda row: row["model"])
def test_meets_the_planner_on_several_gpus_and_with_experts_on_the_host(
    row: dict[str, Any],
) -> None:
    answer = estimate(header(row["model"]), settings(row))
    for share, planned in zip(answer.devices, row["devices"], strict=True):
        assert within(share, planned, 0.01, 0.02), (share, planned)
    assert within(answer.host, row["host"], 0.01, 0.02), (answer.host, row["host"])


@pytest.fixture(scope="module")
def other_headers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Header]:
    folder = tmp_path_factory.mktemp("shapes")
    names = {row["model"] for row in rows("other_oracle")}
    return {name: read_header(write_shape(name, folder / f"{name}.gguf")) for name in names}


@pytest.mark.parametrize("row", rows("other_oracle"), ids=lambda row: row["model"])
def test_meets_the_planner_on_other_architectures(
    row: dict[str, Any], other_headers: dict[str, Header]
) -> None:
    answer = estimate(other_headers[row["model"]], settings(row))
    assert all("truncated" in doubt for doubt in answer.doubts), "of these, only the header is here"
    for share, planned in zip(answer.devices, row["devices"], strict=True):
        assert share.weights_bytes / MIB == pytest.approx(planned["weights_mib"], abs=1.1)
        assert share.context_bytes / MIB == pytest.approx(planned["context_mib"], abs=1.1)
        assert within(share, planned, 0.02, 0.02), (share, planned)
    assert within(answer.host, row["host"], 0.02, 0.05), (answer.host, row["host"])


def test_without_a_gpu_everything_is_on_the_host() -> None:
    answer = estimate(header("llama31-8b"), Settings(tensor_split=(), context_size=2048))
    assert answer.devices == ()
    assert answer.host.weights_bytes == header("llama31-8b").tensor_bytes
    assert answer.host.context_bytes == 256 * MIB


def test_a_cache_on_the_host_costs_no_device() -> None:
    answer = estimate(header("llama31-8b"), Settings(cache_on_gpu=False, context_size=2048))
    assert answer.devices[0].context_bytes == 0
    assert answer.host.context_bytes == 256 * MIB


def test_room_is_kept_for_weights_that_pass_through_the_first_gpu() -> None:
    """Batches of a layer on the host are computed on the GPU, matrix by matrix."""
    asked = Settings(n_cpu_moe=99, tensor_split=(1.0, 1.0), gpu_overhead_bytes=0)
    first, second = estimate(header("gpt-oss-20b"), asked).devices
    largest = max(t.size_bytes for t in header("gpt-oss-20b").tensors if "_exps" in t.name)
    assert (first.overhead_bytes, second.overhead_bytes) == (largest, 0)


def test_a_draft_model_is_added_without_a_second_overhead() -> None:
    drafting = Companion(header("qwen3-0.6b"), Settings(context_size=4096))
    main = Settings(context_size=4096)
    alone = estimate(header("qwen3-30b-a3b"), main).devices[0]
    draft = estimate(header("qwen3-0.6b"), drafting.settings).devices[0]
    both = estimate(header("qwen3-30b-a3b"), replace(main, draft=drafting)).devices[0]
    assert both.planned_bytes == alone.planned_bytes + draft.planned_bytes
    assert both.overhead_bytes == alone.overhead_bytes


def test_a_projector_is_on_the_first_gpu_or_on_the_host(tmp_path: Path) -> None:
    eyes = {
        "general.architecture": "clip",
        "clip.vision.embedding_length": 64,
        "clip.vision.feed_forward_length": 256,
        "clip.vision.attention.head_count": 4,
        "clip.vision.image_size": 28,
        "clip.vision.patch_size": 14,
    }
    path = write_model(tmp_path / "mmproj.gguf", eyes, [("v.patch_embd.weight", (64, 64), F16)])
    settings = Settings(context_size=2048, projector=read_header(path))
    alone = estimate(header("g270"), replace(settings, projector=None))
    on_gpu = estimate(header("g270"), settings)
    on_host = estimate(header("g270"), replace(settings, projector_on_gpu=False))
    assert on_gpu.devices[0].weights_bytes - alone.devices[0].weights_bytes == 8192
    assert on_host.devices == alone.devices
    assert on_host.host.weights_bytes - alone.host.weights_bytes == 8192


def test_an_architecture_that_is_not_understood_says_so(tmp_path: Path) -> None:
    metadata = {
        "general.architecture": "llama9",
        "llama9.block_count": 2,
        "llama9.embedding_length": 256,
        "llama9.attention.head_count": 4,
    }
    tensors: list[TensorShape] = [("blk.0.ffn_up.weight", (256, 1024), Q4_K)]
    path = write_model(tmp_path / "m.gguf", metadata, tensors, whole=True)
    answer = estimate(read_header(path), Settings())
    assert answer.method is Method.HEADER
    assert answer.doubts == (
        "how llama9 keeps its context is not known here: ask the engine's own planner (dry run)",
    )


def test_a_file_that_is_cut_short_is_estimated_and_said_to_be(tmp_path: Path) -> None:
    whole = read_header(write_shape("qwen2-7b", tmp_path / "m.gguf", whole=True))
    answer = estimate(whole, Settings(context_size=4096))
    assert answer.doubts == ()
    os.truncate(whole.path, whole.file_bytes - 1000)
    cut = estimate(read_header(whole.path), Settings(context_size=4096))
    assert replace(cut, doubts=()) == answer
    assert cut.doubts == (
        f"the file is truncated: 1,000 of {whole.file_bytes:,} bytes are missing",
    )


models = st.sampled_from(NAMES).map(header)


def servable(**asked: Any) -> Settings:
    """A quantized cache has flash attention: no server starts without it."""
    on = asked["flash_attention"] or asked["cache_type_v"] not in PLAIN_CACHES
    return Settings(**asked | {"flash_attention": on})


plain = st.builds(
    servable,
    context_size=st.integers(256, 1 << 18),
    slots=st.integers(1, 8),
    unified_cache=st.booleans(),
    cache_type_k=st.sampled_from(sorted(CACHE_TYPES)),
    cache_type_v=st.sampled_from(sorted(CACHE_TYPES)),
    ubatch=st.sampled_from([64, 512, 2048]),
    gpu_layers=st.integers(0, 70) | st.just("all"),
    tensor_split=st.lists(st.floats(0.1, 10), min_size=0, max_size=4).map(tuple),
    flash_attention=st.booleans(),
    n_cpu_moe=st.integers(0, 70),
)


def needed(model: Header, asked: Settings) -> int:
    answer = estimate(model, asked)
    return answer.on_devices.planned_bytes + answer.host.planned_bytes


@given(model=models, asked=plain, more=st.integers(0, 1 << 16))
def test_more_context_never_needs_less(model: Header, asked: Settings, more: int) -> None:
    longer = replace(asked, context_size=asked.context_size + more)
    assert needed(model, longer) >= needed(model, asked)


@given(model=models, asked=plain)
def test_a_larger_batch_never_needs_less(model: Header, asked: Settings) -> None:
    assert needed(model, replace(asked, ubatch=2 * asked.ubatch)) >= needed(model, asked)


@given(model=models, asked=plain)
def test_a_coarser_cache_never_needs_more(model: Header, asked: Settings) -> None:
    asked = replace(asked, flash_attention=True)
    exact = replace(asked, cache_type_k="f16", cache_type_v="f16")
    coarse = replace(asked, cache_type_k="q4_0", cache_type_v="q4_0")
    contexts = [estimate(model, each) for each in (exact, coarse)]
    assert contexts[0].on_devices.context_bytes >= contexts[1].on_devices.context_bytes


@given(model=models, asked=plain)
def test_no_layer_is_forgotten_or_counted_twice(model: Header, asked: Settings) -> None:
    on_host = replace(asked, tensor_split=())
    total = estimate(model, on_host).host
    answer = estimate(model, asked)
    assert answer.on_devices.context_bytes + answer.host.context_bytes == total.context_bytes
    assert answer.on_devices.weights_bytes + answer.host.weights_bytes >= model.tensor_bytes


REAL = (FOOTPRINTS / "qwen3-0.6b.gguf").read_bytes()
# Metadata lies before this; a damaged tensor name is less interesting than a damaged number.
METADATA_END = REAL.index(b"token_embd.weight")


@fuzz_settings(
    max_examples=200, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(at=st.integers(24, METADATA_END - 8), damage=st.binary(min_size=1, max_size=8))
def test_no_damaged_number_crashes_it(tmp_path: Path, at: int, damage: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(REAL[:at] + damage + REAL[at + len(damage) :])
    try:
        answer = estimate(read_header(path), Settings(context_size=4096))
    except GgufError:
        return
    assert answer.on_devices.planned_bytes >= 0
