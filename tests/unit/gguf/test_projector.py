"""Encoders of pictures and sounds, against what llama.cpp b11434 reserved for these shapes."""

from pathlib import Path

import pytest

from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.footprint import MIB
from orchestrator.gguf.header import Header
from orchestrator.gguf.projector import projector_share
from orchestrator.gguf.reader import read_header
from tests.unit.gguf.gguf_files import F16, F32, TensorShape, Value, write_model
from tests.unit.gguf.shapes import header


def encoder(
    folder: Path,
    kind: str,
    *,
    sizes: tuple[int, int, int, int],
    picture: tuple[int, int],
    out: list[TensorShape],
    **more: Value,
) -> Header:
    """A vision encoder with (layers, embedding, feed-forward, heads) and (picture, patch) sizes."""
    layers, d, ff, heads = sizes
    image, patch = picture
    metadata: dict[str, Value] = {
        "general.architecture": "clip",
        "clip.projector_type": kind,
        "clip.vision.image_size": image,
        "clip.vision.patch_size": patch,
        "clip.vision.embedding_length": d,
        "clip.vision.feed_forward_length": ff,
        "clip.vision.attention.head_count": heads,
    }
    own: dict[str, Value] = {f"clip.vision.{key}": value for key, value in more.items()}
    tensors: list[TensorShape] = [("v.patch_embd.weight", (patch, patch, 3, d), F16)]
    for i in range(layers):
        tensors += [(f"v.blk.{i}.attn_{n}.weight", (d, d), F16) for n in ("q", "k", "v", "out")]
        tensors += [(f"v.blk.{i}.ffn_up.weight", (d, ff), F16)]
        tensors += [(f"v.blk.{i}.ffn_down.weight", (ff, d), F16)]
    path = write_model(folder / "mmproj.gguf", metadata | own, [*tensors, *out])
    return read_header(path)


def siglip(folder: Path) -> Header:
    out: list[TensorShape] = [("mm.input_projection.weight", (2560, 1152), F16)]
    sizes = (27, 1152, 4304, 16)
    return encoder(folder, "gemma3", sizes=sizes, picture=(896, 14), out=out)


def llava(folder: Path) -> Header:
    out: list[TensorShape] = [
        ("mm.0.weight", (1024, 4096), F16),
        ("mm.0.bias", (4096,), F32),
        ("mm.2.weight", (4096, 4096), F16),
    ]
    return encoder(folder, "mlp", sizes=(23, 1024, 4096, 16), picture=(336, 14), out=out)


@pytest.mark.parametrize(("flash_attention", "planned_mib"), [(True, 121.25), (False, 1132.0)])
def test_siglip_as_planned(tmp_path: Path, flash_attention: bool, planned_mib: float) -> None:
    share = projector_share(siglip(tmp_path), flash_attention=flash_attention)
    assert share.compute_bytes / MIB == pytest.approx(planned_mib, rel=0.01)


@pytest.mark.parametrize(("flash_attention", "planned_mib"), [(True, 23.8), (False, 32.9)])
def test_llava_as_planned_or_a_little_higher(
    tmp_path: Path, flash_attention: bool, planned_mib: float
) -> None:
    share = projector_share(llava(tmp_path), flash_attention=flash_attention)
    assert planned_mib <= share.compute_bytes / MIB <= planned_mib + 2


def test_pictures_of_any_size_are_expected_at_their_largest(tmp_path: Path) -> None:
    sizes, picture = (32, 1280, 5120, 16), (560, 14)
    fixed = encoder(tmp_path, "mlp", sizes=sizes, picture=picture, out=[])
    few = projector_share(fixed, flash_attention=True)
    free = encoder(tmp_path, "qwen2vl_merger", sizes=sizes, picture=picture, out=[])
    many = projector_share(free, flash_attention=True)
    assert many.compute_bytes / few.compute_bytes == pytest.approx(16384 / 1600)


def test_a_language_model_is_no_projector() -> None:
    with pytest.raises(GgufError, match="is no projector but a llama model"):
        projector_share(header("llama31-8b"), flash_attention=True)


def test_an_encoder_of_absurd_size_is_refused(tmp_path: Path) -> None:
    huge = encoder(tmp_path, "mlp", sizes=(1, 1 << 20, 64, 4), picture=(28, 14), out=[])
    with pytest.raises(GgufError, match=r"clip\.vision\.embedding_length is 1048576"):
        projector_share(huge, flash_attention=True)
