"""Which device holds what."""

from pathlib import Path
from typing import Literal

import pytest

from orchestrator.gguf.architecture import architecture_of
from orchestrator.gguf.placement import HOST, adapters_bytes, place, weights_bytes
from orchestrator.gguf.reader import read_header
from orchestrator.gguf.settings import Settings
from tests.unit.gguf.gguf_files import F32, Q4_K, TensorShape, write_model
from tests.unit.gguf.shapes import NAMES, header, rows, settings

LLAMA = architecture_of(header("llama31-8b"))  # 32 layers


@pytest.mark.parametrize(
    ("asked", "on_host"), [("all", 0), (999, 0), (33, 0), (32, 1), (1, 32), (0, 32)]
)
def test_the_last_layers_are_offloaded_and_the_output_counts_as_one(
    asked: int | Literal["all"], on_host: int
) -> None:
    placement = place(LLAMA, Settings(gpu_layers=asked))
    assert placement.on(HOST) == tuple(range(on_host))
    assert placement.output == (0 if asked != 0 else HOST)


def test_without_a_gpu_everything_is_on_the_host() -> None:
    placement = place(LLAMA, Settings(tensor_split=()))
    assert set(placement.layers) == {HOST}
    assert placement.output == HOST
    assert not placement.whole


@pytest.mark.parametrize(
    ("shares", "counts"),
    [
        ((1.0, 1.0), (17, 15)),
        ((3.0, 1.0), (25, 7)),
        ((1.0, 0.0), (32, 0)),
        ((0.0, 1.0), (0, 32)),
        ((1.0, 2.0, 3.0), (6, 11, 15)),
    ],
)
def test_layers_are_shared_out_in_order(shares: tuple[float, ...], counts: tuple[int, ...]) -> None:
    placement = place(LLAMA, Settings(tensor_split=shares))
    assert tuple(len(placement.on(i)) for i in range(len(shares))) == counts
    assert list(placement.layers) == sorted(placement.layers)


def test_no_weight_is_lost_whatever_the_placement() -> None:
    for row in rows("placement_oracle"):
        asked = settings(row)
        architecture = architecture_of(header(row["model"]))
        held = weights_bytes(architecture, place(architecture, asked), asked)
        assert sum(held.values()) >= header(row["model"]).tensor_bytes


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_that_are_only_looked_up_stay_on_the_host(name: str) -> None:
    architecture = architecture_of(header(name))
    held = weights_bytes(architecture, place(architecture, Settings()), Settings())
    embeddings = [t for t in header(name).tensors if t.name == "token_embd.weight"]
    assert held[HOST] == embeddings[0].size_bytes


def tied(folder: Path, kind: int) -> Path:
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.embedding_length": 256,
    }
    return write_model(folder / "m.gguf", metadata, [("token_embd.weight", (256, 10), kind)])


def test_an_output_that_is_the_embedding_is_copied_to_the_gpu(tmp_path: Path) -> None:
    architecture = architecture_of(read_header(tied(tmp_path, F32)))
    for asked, expected in (
        (Settings(), {HOST: 10240, 0: 10240}),
        (Settings(gpu_layers=0), {HOST: 10240, 0: 0}),
    ):
        assert weights_bytes(architecture, place(architecture, asked), asked) == expected


def test_on_the_host_it_is_copied_where_the_cpu_rearranges_the_type(tmp_path: Path) -> None:
    architecture = architecture_of(read_header(tied(tmp_path, Q4_K)))
    asked = Settings(tensor_split=())
    assert weights_bytes(architecture, place(architecture, asked), asked) == {HOST: 2 * 1440}


def test_experts_of_the_first_layers_can_stay_on_the_host() -> None:
    architecture = architecture_of(header("qwen3-30b-a3b"))
    whole, some = Settings(), Settings(n_cpu_moe=4)
    before = weights_bytes(architecture, place(architecture, whole), whole)
    after = weights_bytes(architecture, place(architecture, some), some)
    experts = [
        tensor.size_bytes
        for layer in architecture.layers[:4]
        for tensor in layer.tensors
        if "_exps" in tensor.name
    ]
    assert len(experts) == 12
    assert before[0] - after[0] == after[HOST] - before[HOST] == sum(experts)


def test_an_adapter_lies_beside_what_it_adapts(tmp_path: Path) -> None:
    tensors: list[TensorShape] = [
        ("blk.0.attn_q.weight.lora_a", (4096, 16), F32),
        ("blk.31.attn_q.weight.lora_b", (16, 4096), F32),
        ("output.weight.lora_a", (4096, 16), F32),
    ]
    path = write_model(tmp_path / "lora.gguf", {"general.architecture": "llama"}, tensors)
    adapted = Settings(gpu_layers=16, loras=(read_header(path),))
    held = adapters_bytes(place(LLAMA, adapted), adapted)
    assert held == {HOST: 262144, 0: 524288}
