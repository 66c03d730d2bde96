"""Which other quantizations of a model are known, without asking anyone."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.catalogue.predictions import Predictions
from orchestrator.catalogue.quantizations import REPOSITORIES_MAX
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.gguf.headers import Headers
from orchestrator.hub import Offer
from tests.unit.gguf.shapes import write_quantized

Q8, Q6, Q4, Q2, F16 = 8, 14, 12, 10, 1


@pytest.fixture
def predictions():
    return Predictions(Headers())


@pytest.fixture
def model(tmp_path, predictions):
    """Of a file called m-Q6_K.gguf."""
    return sized(predictions, write_quantized(tmp_path / "m-Q6_K.gguf", Q6))


def sized(predictions, file, **changes):
    bare = ModelSpec(
        name=ModelName("m"), service=ServiceName("s"), footprint=UNKNOWN, file=str(file), **changes
    )
    return replace(bare, footprint=predictions.footprint(bare))


def names(predictions, spec):
    return [way.file.quantization for way in predictions.ways(spec)]


def offer(quantization, size_bytes):
    return Offer(
        reference=f"o/M-GGUF:m-{quantization}.gguf",
        quantization=quantization,
        size_bytes=size_bytes,
    )


def test_files_beside_it_are_told_by_their_headers_the_best_first(tmp_path, predictions, model):
    for name, kind in (("Q2_K", Q2), ("Q8_0", Q8), ("F16", F16)):
        write_quantized(tmp_path / f"m-{name}.gguf", kind)
    ways = predictions.ways(model)
    assert [way.file.quantization for way in ways] == ["Q8_0", "Q6_K", "Q2_K", "F16"]
    assert [way.own for way in ways] == [False, True, False, False]
    sizes = [way.spec.footprint.device_bytes for way in ways]
    assert sizes[:3] == sorted(sizes[:3], reverse=True)
    smallest = sized(predictions, tmp_path / "m-Q2_K.gguf")
    assert ways[2].spec.footprint == smallest.footprint
    assert ways[2].file.file == smallest.file
    assert ways[2].file.size_bytes == Path(smallest.file).stat().st_size
    assert ways[2].spec.name != model.name


def test_another_model_of_the_folder_is_none(tmp_path, predictions, model):
    write_quantized(tmp_path / "other-Q2_K.gguf", Q2)
    write_quantized(tmp_path / "m-Q2_K.gguf", Q2, width=1024)  # called so, and of another shape
    write_quantized(tmp_path / "m.gguf", Q2)
    (tmp_path / "m-Q3_K_M.gguf").write_bytes(b"GGUF and no more")
    assert names(predictions, model) == ["Q6_K"]


def test_what_its_hub_published_is_told_by_the_sizes(predictions, model):
    there = replace(model, hub="o/M-GGUF:m-Q6_K.gguf")
    own_bytes = Path(there.file).stat().st_size
    predictions.quantizations.keep(there.hub, (offer("Q8_0", own_bytes + 1000), offer("Q2_K", 0)))
    ways = predictions.ways(there)
    assert [way.file.quantization for way in ways] == ["Q8_0", "Q6_K", "Q2_K"]
    needs = there.footprint.device_bytes
    assert ways[0].spec.footprint.device_bytes == needs + 1000
    # Part of what it saves may lie in host RAM: not all of it is believed.
    assert needs - own_bytes < ways[2].spec.footprint.device_bytes < needs - own_bytes * 0.9


def test_a_file_that_is_here_goes_before_one_on_the_hub(tmp_path, predictions, model):
    write_quantized(tmp_path / "m-Q2_K.gguf", Q2)
    there = replace(model, hub="o/M-GGUF")
    predictions.quantizations.keep("o/M-GGUF:Q8_0", (offer("Q2_K", 7),))
    assert [way.file.file for way in predictions.ways(there)] == [
        model.file,
        str(tmp_path / "m-Q2_K.gguf"),
    ]


def test_another_revision_is_another_repository(predictions, model):
    predictions.quantizations.keep("o/M-GGUF@v2", (offer("Q2_K", 7),))
    assert names(predictions, replace(model, hub="o/M-GGUF")) == ["Q6_K"]


def test_lists_of_repositories_are_forgotten_oldest_first(predictions, model):
    for number in range(REPOSITORIES_MAX + 1):
        predictions.quantizations.keep(f"o/M{number}-GGUF", (offer("Q2_K", 7),))
    assert names(predictions, replace(model, hub="o/M0-GGUF")) == ["Q6_K"]
    assert names(predictions, replace(model, hub="o/M1-GGUF")) == ["Q6_K", "Q2_K"]


def test_nothing_is_told_of_files_that_cannot_be_read(tmp_path, predictions, model):
    assert predictions.ways(replace(model, file=None)) == ()
    assert predictions.ways(replace(model, file=str(tmp_path / "gone.gguf"))) == ()
    assert predictions.ways(replace(model, footprint=UNKNOWN)) == ()
