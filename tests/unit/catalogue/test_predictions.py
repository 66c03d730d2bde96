"""What is believed of a model: by its files, by the planner, by what was declared."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.catalogue.predictions import Predictions
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.specs import Degrading
from orchestrator.core.values.vram import GiB, MiB, to_mb
from orchestrator.errors import Unpredictable
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.footprint import Method, Share
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.reader import read_header
from tests.unit.catalogue.test_sizing import LLAMA, of, served
from tests.unit.gguf.gguf_files import unknown_architecture, write_adapter


@pytest.fixture
def predictions():
    return Predictions(Headers())


def known(predictions, spec):
    """What can be told of it without looking again."""
    return predictions.under(spec.serving, spec).predicted


@pytest.fixture
def odd(tmp_path):
    return replace(LLAMA, file=str(unknown_architecture(tmp_path / "odd.gguf")))


def said(predictions):
    return [(each.model, each.text) for each in predictions.news()]


def test_an_architecture_that_is_not_known_is_estimated_with_its_doubts_said_once(predictions, odd):
    assert predictions.footprint(LLAMA) is not None
    assert said(predictions) == []
    assert predictions.footprint(odd) is not None
    [(name, text)] = said(predictions)
    assert name == odd.name
    assert "dry run" in text
    assert predictions.footprint(odd) is not None
    assert said(predictions) == []


def test_what_its_files_say_or_nothing_where_they_cannot_be_read(predictions, tmp_path):
    assert predictions.files(LLAMA).model.architecture == "llama"
    assert predictions.files(replace(LLAMA, file=None)) is None
    assert predictions.files(replace(LLAMA, file=str(tmp_path / "gone.gguf"))) is None


# --- what was declared -------------------------------------------------------------------------


def declared(spec, mb, host_mb=0):
    return replace(spec, footprint=Footprint(device_bytes=mb * MiB, host_bytes=host_mb * MiB))


def test_the_file_is_believed_before_the_declaration_and_the_difference_is_said_once(predictions):
    told = of(predictions)
    assert predictions.footprint(declared(LLAMA, 1234)) == told
    [(name, text)] = said(predictions)
    assert name == LLAMA.name
    assert "declared with 1234 MB" in text
    assert f"by its file it takes {to_mb(told.device_bytes)} MB" in text
    assert "its file is believed" in text
    assert predictions.footprint(declared(LLAMA, 1234)) == told
    assert said(predictions) == []


@pytest.mark.parametrize("part", ["device_bytes", "without_gpu_bytes"])
def test_a_declaration_that_is_near_on_a_gpu_or_on_a_host_is_not_contradicted(predictions, part):
    near = int(getattr(of(predictions), part) * 1.09) // MiB
    predictions.footprint(declared(LLAMA, near))
    assert said(predictions) == []


def test_host_ram_that_was_declared_wrongly_is_told_too(predictions):
    told = of(predictions)
    near = to_mb(told.device_bytes)
    predictions.footprint(declared(LLAMA, near, to_mb(told.host_bytes)))
    assert said(predictions) == []
    predictions.footprint(declared(LLAMA, near, 3 * to_mb(told.host_bytes)))
    assert len(said(predictions)) == 1


def test_where_the_file_leaves_doubts_the_declaration_stands(predictions, odd):
    spec = declared(odd, 9000)
    assert predictions.footprint(spec) == spec.footprint
    [(_, text)] = said(predictions)
    assert "what was declared is believed" in text


@pytest.mark.parametrize("content", [None, "not a model"])
def test_where_there_is_no_file_to_read_the_declaration_stands(predictions, tmp_path, content):
    file = tmp_path / "elsewhere.gguf"
    if content is not None:
        file.write_text(content)
    spec = declared(replace(LLAMA, file=str(file)), 9000)
    assert predictions.footprint(spec) == spec.footprint
    assert said(predictions) == []


def fallbacks(predictions, spec, believed=None):
    return predictions.under(spec.serving, spec).fallbacks(believed or spec.footprint)


# --- the engine's own planner ------------------------------------------------------------------


class Planning:
    """A planner that knows what the header does not say: half a GiB more on each GPU."""

    def __init__(self):
        self.asked = []
        self.silent = False

    def estimate(self, header, settings):
        self.asked.append(settings)
        if self.silent:
            raise GgufError("the planner does not answer")
        guess = estimate(header, settings)
        more = tuple(share + Share(GiB // 2) for share in guess.devices)
        return replace(guess, method=Method.DRY_RUN, devices=more, doubts=())


@pytest.fixture
def planning():
    return Planning()


@pytest.fixture
def asking(planning):
    return Predictions(Headers(), dry_runs=planning)


def test_where_the_engine_can_be_asked_it_is_and_once(predictions, asking, planning, odd):
    guessed = of(predictions, file=odd.file).device_bytes
    assert asking.footprint(odd).device_bytes == guessed + GiB // 2
    assert said(asking) == []
    asked = len(planning.asked)
    assert asking.footprint(odd) == known(asking, odd)
    assert len(planning.asked) == asked
    assert {len(each.tensor_split) for each in planning.asked} == {0, 1}, "the host is planned too"


def test_the_engine_is_not_asked_about_what_the_header_says(asking, planning):
    assert asking.footprint(LLAMA) is not None
    assert known(asking, replace(LLAMA, **served(context_size=16384))) is not None
    assert planning.asked == []


def test_other_settings_of_a_planned_model_are_planned_too(asking, odd):
    spec = replace(odd, footprint=asking.footprint(odd))
    longer = replace(odd, **served(context_size=16384))
    found = asking.under(longer.serving, spec).footprint
    assert found == asking.footprint(longer)
    assert found.device_bytes > spec.footprint.device_bytes
    assert asking.appraise(longer).footprint == found


def test_a_guess_does_not_hide_what_is_planned_later(asking, planning, odd):
    planning.silent = True
    guessed = asking.footprint(odd)
    assert "does not answer" in said(asking)[0][1]
    assert known(asking, odd) == guessed
    planning.silent = False
    assert asking.footprint(odd).device_bytes == guessed.device_bytes + GiB // 2
    assert known(asking, odd).device_bytes == guessed.device_bytes + GiB // 2


def test_a_planner_that_falls_silent_never_makes_a_model_smaller(asking, planning, odd):
    spec = replace(odd, footprint=asking.footprint(odd))
    longer = replace(odd, **served(context_size=16384))
    planning.silent = True
    guessed = asking.under(longer.serving, spec).footprint
    assert guessed.device_bytes >= spec.footprint.device_bytes
    asked = len(planning.asked)
    assert asking.under(longer.serving, spec).footprint == guessed
    assert len(planning.asked) == asked, "orders do not wait for it again"


def test_lesser_settings_of_a_planned_model_are_planned_too(asking, planning, odd):
    odd = replace(odd, **served(context_size=8192), degrade=(Degrading.CONTEXT_SIZE,))
    odd = replace(odd, footprint=asking.footprint(odd))
    steps = fallbacks(asking, odd)
    assert [each.serving.context_size for each in steps] == [4096, 2048]
    for each in steps:
        assert each.footprint == asking.footprint(replace(odd, serving=each.serving))


def test_no_difference_is_taken_between_a_plan_and_a_guess(asking, planning, odd):
    odd = replace(odd, degrade=(Degrading.CONTEXT_SIZE,))
    odd = replace(odd, footprint=asking.footprint(odd))
    planning.silent = True
    assert fallbacks(asking, odd) == ()


def test_what_is_suggested_for_a_planned_model_is_planned(asking, odd):
    odd = replace(odd, **served(context_size=65536))
    odd = replace(odd, footprint=asking.footprint(odd))
    room = odd.footprint.device_bytes - 10 * MiB
    found = asking.suggestions(odd, room, on_host=False)
    (context,) = (each["context_size"] for each in found if "context_size" in each)
    fitting = asking.footprint(replace(odd, **served(context_size=context)))
    assert fitting.device_bytes <= room


def test_a_declaration_that_stands_moves_with_the_settings(predictions, odd):
    spec = declared(odd, 9000)
    assert predictions.footprint(spec) == spec.footprint
    more = predictions.under(replace(odd.serving, context_size=16384), spec).footprint
    guessed = of(predictions, file=odd.file, **served(context_size=16384))
    base = of(predictions, file=odd.file)
    assert more.device_bytes - 9000 * MiB == guessed.device_bytes - base.device_bytes > 0


def test_a_model_without_a_file_must_be_declared(predictions):
    assert predictions.footprint(replace(LLAMA, file=None)) is None
    assert predictions.footprint(declared(replace(LLAMA, file=None), 7)).device_bytes == 7 * MiB
    other = replace(LLAMA.serving, context_size=16384)
    without = predictions.under(other, declared(replace(LLAMA, file=None), 7))
    assert (without.footprint.device_bytes, without.predicted) == (7 * MiB, None)
    assert without.fallbacks(without.footprint) == ()


@pytest.mark.parametrize(
    ("key", "where"), [("file", ("file",)), ("mmproj", ("mmproj",)), ("lora", ("lora", 0))]
)
def test_a_broken_file_is_named_with_its_place(predictions, tmp_path, key, where):
    broken = tmp_path / "broken.gguf"
    broken.write_text("not a model")
    with pytest.raises(Unpredictable, match=r"broken\.gguf") as raised:
        of(predictions, **{key: (str(broken),) if key == "lora" else str(broken)})
    assert raised.value.where == where


def test_adapters_are_charged_whatever_their_scales(predictions, tmp_path):
    adapters = [str(write_adapter(tmp_path / f"{seed}.gguf", seed)) for seed in (1, 2)]
    matrices_bytes = 2 * sum(tensor.size_bytes for tensor in read_header(Path(adapters[0])).tensors)
    plain, adapted = of(predictions), of(predictions, lora=tuple(adapters), lora_scales=(0.0, 0.5))
    assert adapted.device_bytes == plain.device_bytes + matrices_bytes


def test_a_projector_that_is_none_is_told(predictions):
    with pytest.raises(Unpredictable, match="no projector"):
        of(predictions, mmproj=LLAMA.file)


def test_orders_are_answered_from_memory_without_a_look_at_the_disk(predictions, tmp_path):
    copy = tmp_path / "m.gguf"
    copy.write_bytes(Path(LLAMA.file).read_bytes())
    here = replace(LLAMA, file=str(copy))
    first = known(predictions, here)
    assert first == predictions.footprint(here)
    copy.unlink()
    longer = replace(here, **served(context_size=16384))
    assert known(predictions, here) == first
    assert known(predictions, longer) == of(predictions, **served(context_size=16384))
    missing = declared(replace(LLAMA, file="/nowhere.gguf"), 7)
    assert predictions.under(longer.serving, missing).footprint == missing.footprint


# --- lesser settings ---------------------------------------------------------------------------


def laddered(predictions, *degrade, **changes):
    spec = replace(LLAMA, degrade=degrade, **changes)
    spec = replace(spec, footprint=predictions.footprint(spec))
    return spec, fallbacks(predictions, spec)


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
    (moved,) = fallbacks(predictions, spec, believed=Footprint(device_bytes=20 * GiB))
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


def test_what_is_suggested_leaves_to_the_host_no_more_than_it_has(predictions):
    """With fewer layers on the GPU, the host holds the rest."""
    spec = replace(LLAMA, **served(context_size=65536))
    spec = replace(spec, footprint=predictions.footprint(spec))
    gpu, host = 8192 * MiB, 6000 * MiB

    def keys(host_room):
        found = predictions.suggestions(spec, gpu, on_host=False, host_room_bytes=host_room)
        return {key: value for each in found for key, value in each.items()}

    layers = keys(None)["gpu_layers"]
    fewer = predictions.footprint(replace(spec, serving=replace(spec.serving, gpu_layers=layers)))
    assert fewer.device_bytes <= gpu
    assert fewer.host_bytes > host
    assert set(keys(None)) - set(keys(host)) == {"gpu_layers"}
    assert keys(fewer.host_bytes)["gpu_layers"] == layers
    assert "gpu_layers" not in keys(fewer.host_bytes - 1)
    assert keys(0) == {}


def test_with_arguments_that_move_bytes_only_the_declaration_counts(predictions):
    moved = replace(LLAMA, serving=replace(LLAMA.serving, extra_args=("--n-cpu-moe", "6")))
    declared = replace(moved, footprint=Footprint(device_bytes=5 * GiB))
    assert predictions.footprint(declared) == declared.footprint
    assert known(predictions, declared) is None
    assert predictions.suggestions(declared, GiB, on_host=False) == ()
    with pytest.raises(Unpredictable, match="--n-cpu-moe"):
        predictions.appraise(declared)
