"""From a model as the operator wrote it to what it will take, by its files."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.config.catalogue import Unpredictable
from orchestrator.core.footprints import Footprint, Provenance
from orchestrator.core.residents import Placement
from orchestrator.core.specs import Degrading, ModelName, ModelSpec, ServiceName, Serving
from orchestrator.core.vram import DeviceId, GiB, MiB
from orchestrator.engines.llama_argv import server_arguments
from orchestrator.engines.xllamacpp_flags import FLAGS
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.footprint import Estimate, Method, Share
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.settings import GPU_OVERHEAD_BYTES, Settings
from orchestrator.prediction import PROCESS_BYTES, WORD_BYTES, Predictions
from tests.unit.gguf.gguf_files import F16, write_model
from tests.unit.gguf.shapes import FOOTPRINTS, header

LLAMA = ModelSpec(
    name=ModelName("llama"),
    service=ServiceName("local"),
    footprint=Footprint(device_bytes=0),
    file=str(FOOTPRINTS / "llama31-8b.gguf"),
    serving=Serving(context_size=8192),
)
WORDS = 128_256


@pytest.fixture
def predictions():
    return Predictions(Headers())


def of(predictions, **changes):
    footprint = predictions.footprint(replace(LLAMA, **changes))
    assert footprint is not None
    return footprint


def served(**changes):
    return {"serving": replace(LLAMA.serving, **changes)}


def test_the_footprint_is_the_estimate_with_the_drivers_part_and_the_process(predictions):
    found = of(predictions)
    asked = estimate(header("llama31-8b"), Settings(context_size=8192))
    assert found.provenance is Provenance.ESTIMATED
    assert found.device_bytes == asked.on_devices.planned_bytes + GPU_OVERHEAD_BYTES
    process = PROCESS_BYTES + WORDS * WORD_BYTES
    assert found.host_bytes == asked.host.planned_bytes + process
    alone = estimate(header("llama31-8b"), Settings(context_size=8192, tensor_split=()))
    assert found.host_only_bytes == alone.host.planned_bytes + process


def test_the_prompt_cache_in_host_ram_is_charged(predictions):
    more = of(predictions, **served(host_cache_mb=1024))
    assert more.host_bytes - of(predictions).host_bytes == GiB
    assert more.without_gpu_bytes - of(predictions).without_gpu_bytes == GiB


def test_every_slot_with_a_context_of_its_own_costs_its_own(predictions):
    shared = of(predictions, **served(slots=4))
    split = of(predictions, **served(slots=4, unified_cache=False))
    assert split.device_bytes - shared.device_bytes > 3 * 1000 * MiB


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("unified", [True, False])
@pytest.mark.parametrize("embeddings", [True, False])
def test_what_is_charged_is_what_is_launched(predictions, slots, unified, embeddings):
    spec = replace(
        LLAMA, **served(slots=slots, unified_cache=unified, embeddings=embeddings, batch=1024)
    )
    placement = Placement(((DeviceId("GPU-1"), 1),))
    words = server_arguments(spec, placement, FLAGS, physical_cores=1)
    said = dict(pairwise(words))
    launched = Settings(
        context_size=int(said["-c"]),
        slots=int(said["-np"]),
        unified_cache="--kv-unified" in words,
        cache_type_k=said["-ctk"],
        cache_type_v=said["-ctv"],
        batch=int(said["-b"]),
        ubatch=int(said["-ub"]),
        flash_attention=said["-fa"] == "on",
        checkpoints=int(said["--ctx-checkpoints"]),
    )
    assert predictions.appraise(spec).estimate == estimate(header("llama31-8b"), launched)


def test_spread_evenly_it_does_for_the_device_that_holds_most(predictions):
    wide = of(predictions, span=3)
    split = Settings(context_size=8192, tensor_split=(1.0,) * 3)
    most = max(share.total_bytes for share in estimate(header("llama31-8b"), split).devices)
    assert wide.device_bytes == of(predictions).device_bytes
    assert 0 <= wide.spread_bytes(3) - 3 * most < 3


def unknown_architecture(path):
    """A model of a kind that nobody here has heard of."""
    metadata = {
        "general.architecture": "novel",
        "novel.block_count": 2,
        "novel.embedding_length": 256,
        "novel.attention.head_count": 4,
        "novel.context_length": 4096,
    }
    tensors = [("token_embd.weight", (256, 1000), F16)]
    tensors += [(f"blk.{i}.attn_q.weight", (256, 256), F16) for i in range(2)]
    return write_model(path, metadata, tensors, whole=True)


def test_an_architecture_that_is_not_known_is_estimated_with_its_doubts_said(predictions, tmp_path):
    odd = replace(LLAMA, file=str(unknown_architecture(tmp_path / "odd.gguf")))
    assert predictions.footprint(LLAMA) is not None
    assert predictions.doubts == {}
    assert predictions.footprint(odd) is not None
    (said,) = predictions.doubts[odd.name]
    assert "dry run" in said


class Planning:
    """A planner that knows what the header does not say."""

    def estimate(self, header, settings):
        return Estimate(header.architecture, Method.DRY_RUN, (Share(GiB),), Share())


def test_where_the_engine_can_be_asked_it_is(tmp_path):
    odd = replace(LLAMA, file=str(unknown_architecture(tmp_path / "odd.gguf")))
    asking = Predictions(Headers(), dry_runs=Planning())
    assert asking.footprint(odd).device_bytes == GiB
    assert asking.doubts == {}
    longer = replace(odd, **served(context_size=16384))
    assert asking.remembered(longer).device_bytes != GiB, "an order does not wait for a dry run"


def test_a_model_without_a_file_must_be_declared(predictions):
    assert predictions.footprint(replace(LLAMA, file=None)) is None
    assert predictions.remembered(replace(LLAMA, file=None)) is None


@pytest.mark.parametrize(
    ("key", "where"), [("file", ("file",)), ("mmproj", ("mmproj",)), ("lora", ("lora", 0))]
)
def test_a_broken_file_is_named_with_its_place(predictions, tmp_path, key, where):
    broken = tmp_path / "broken.gguf"
    broken.write_text("not a model")
    with pytest.raises(Unpredictable, match=r"broken\.gguf") as raised:
        of(predictions, **{key: (str(broken),) if key == "lora" else str(broken)})
    assert raised.value.where == where


def test_a_projector_that_is_none_is_told(predictions):
    with pytest.raises(Unpredictable, match="no projector"):
        of(predictions, mmproj=LLAMA.file)


def test_orders_are_answered_from_memory_without_a_look_at_the_disk(predictions, tmp_path):
    copy = tmp_path / "m.gguf"
    copy.write_bytes(Path(LLAMA.file).read_bytes())
    here = replace(LLAMA, file=str(copy))
    assert predictions.remembered(here) is None, "not read yet"
    first = predictions.footprint(here)
    copy.unlink()
    longer = replace(here, **served(context_size=16384))
    assert predictions.remembered(here) == first
    assert predictions.remembered(longer) == of(predictions, **served(context_size=16384))


# --- lesser settings ---------------------------------------------------------------------------


def laddered(predictions, *degrade, **changes):
    spec = replace(LLAMA, degrade=degrade, **changes)
    spec = replace(spec, footprint=predictions.footprint(spec))
    return spec, predictions.fallbacks(spec)


def test_nothing_is_given_up_that_the_operator_did_not_name(predictions):
    assert laddered(predictions)[1] == ()


def test_each_step_takes_less_than_the_one_before_and_keeps_what_it_gave_up(predictions):
    spec, steps = laddered(
        predictions, Degrading.UBATCH, Degrading.CACHE_TYPE, Degrading.CONTEXT_SIZE
    )
    sizes = [spec.footprint.device_bytes, *(each.footprint.device_bytes for each in steps)]
    assert sizes == sorted(set(sizes), reverse=True)
    assert steps[-1].given_up == (
        "ubatch 128 instead of 512",
        "cache type q8_0 instead of f16",
        "context 2048 instead of 8192",
    )
    assert steps[-1].serving == replace(
        spec.serving, ubatch=128, cache_type_k="q8_0", cache_type_v="q8_0", context_size=2048
    )
    exact = predictions.footprint(replace(spec, serving=steps[0].serving))
    assert steps[0].footprint == exact


def test_fewer_layers_go_to_the_gpu_and_the_host_holds_them(predictions):
    spec, steps = laddered(predictions, Degrading.GPU_LAYERS)
    assert [each.serving.gpu_layers for each in steps] == [24, 16, 8]
    assert steps[-1].footprint.host_bytes > spec.footprint.host_bytes


def test_what_was_measured_moves_by_what_a_step_saves(predictions):
    spec, steps = laddered(predictions, Degrading.CACHE_TYPE)
    measured = replace(spec, footprint=Footprint(device_bytes=20 * GiB))
    (moved,) = predictions.fallbacks(measured)
    saved = spec.footprint.device_bytes - steps[0].footprint.device_bytes
    assert moved.footprint.device_bytes == 20 * GiB - saved


def test_on_the_host_a_step_saves_host_ram(predictions):
    spec, steps = laddered(
        predictions, Degrading.CONTEXT_SIZE, **served(context_size=8192, gpu_layers=0)
    )
    sizes = [each.footprint.without_gpu_bytes for each in (spec, *steps)]
    assert sizes == sorted(set(sizes), reverse=True)
    assert len(sizes) == 3


def test_a_step_that_changes_nothing_is_none(predictions):
    assert laddered(predictions, Degrading.MMPROJ)[1] == ()
    assert laddered(predictions, Degrading.UBATCH, **served(ubatch=64))[1] == ()
    assert laddered(predictions, Degrading.CONTEXT_SIZE, **served(context_size=1024))[1] == ()


# --- suggestions -------------------------------------------------------------------------------


@pytest.mark.parametrize("on_host", [False, True])
def test_what_is_suggested_fits_and_can_be_sent_back(predictions, on_host):
    spec = replace(LLAMA, **served(context_size=65536))
    spec = replace(spec, footprint=predictions.footprint(spec))

    def taken(serving):
        footprint = predictions.footprint(replace(spec, serving=serving))
        return footprint.without_gpu_bytes if on_host else footprint.device_bytes

    room = taken(spec.serving) - 2 * GiB
    found = predictions.suggestions(spec, room, on_host=on_host)
    assert {key for each in found for key in each} == (
        {"context_size", "cache_type"} if on_host else {"context_size", "gpu_layers", "cache_type"}
    )
    for each in found:
        changes = dict(each)
        if kind := changes.pop("cache_type", None):
            changes |= {"cache_type_k": kind, "cache_type_v": kind}
        assert taken(replace(spec.serving, **changes)) <= room


def test_what_was_learned_holds_for_suggestions_too(predictions):
    spec = replace(LLAMA, **served(context_size=65536))
    predicted = predictions.footprint(spec)
    room = predicted.device_bytes - 2 * GiB
    (plain, *_) = predictions.suggestions(replace(spec, footprint=predicted), room, on_host=False)
    hungry = replace(spec, footprint=predicted.grown(GiB))
    (careful, *_) = predictions.suggestions(hungry, room, on_host=False)
    assert careful["context_size"] < plain["context_size"]


def test_a_slot_with_its_own_context_is_suggested_its_own(predictions):
    split = replace(LLAMA, **served(context_size=16384, slots=4, unified_cache=False))
    spec = replace(split, footprint=predictions.footprint(split))
    room = spec.footprint.device_bytes - 2 * GiB
    (first, *_) = predictions.suggestions(spec, room, on_host=False)
    fitting = replace(split, serving=replace(split.serving, context_size=first["context_size"]))
    assert predictions.footprint(fitting).device_bytes <= room


def test_nothing_is_suggested_where_nothing_is_known(predictions):
    assert predictions.suggestions(replace(LLAMA, file=None), GiB, on_host=False) == ()
    missing = replace(LLAMA, file="/nowhere.gguf")
    assert predictions.suggestions(missing, GiB, on_host=False) == ()
