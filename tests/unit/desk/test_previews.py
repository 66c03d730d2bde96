"""What an order would come to: of models whose files are on a hub, and of services to come.

Plans of models that are here are tested at the desk, beside the loads that they foretell.
"""

from dataclasses import replace

import pytest

from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.learned import Experience
from orchestrator.catalogue.predictions import Predictions
from orchestrator.catalogue.quantizations import Way
from orchestrator.catalogue.sizing import Appraisal
from orchestrator.config.loading import load_config
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.refusals import FittingFile, Refusal, RefusalCode
from orchestrator.core.values.vram import MiB
from orchestrator.desk.previews import Previews
from orchestrator.errors import Denied
from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.headers import Headers
from orchestrator.gguf.settings import Settings
from orchestrator.orders import EstimateOrder, LoadOrder
from orchestrator.ports import Drivers
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from tests import machine
from tests.asynchronous import run
from tests.unit.gguf.shapes import header

FILE = """
devices: {source: fake, headroom_mb: 0, fake: [{name: A, total_mb: 24576}]}
services:
  rehearsal: {engine: xllamacpp}
models:
  far: {service: rehearsal, file: "org/repo:far.gguf"}
"""
SIZED = Footprint(device_bytes=100 * MiB, provenance=Provenance.ESTIMATED)
HUGE = Footprint(device_bytes=10**6 * MiB, provenance=Provenance.ESTIMATED)
ESTIMATE = estimate(header("llama31-8b"), Settings())
NOT_THERE = Failure(reason=FailureReason.MODEL_FILE, detail="it is not there.", remedy="pull it.")


class Hub:
    """A supply that finds what it was given to find."""

    def __init__(self, outcome=None):
        self.outcome = outcome
        self.brings = False
        self.asked = []
        self.take_in = None

    async def would_bring(self, spec):
        return self.brings

    async def bring(self, spec, tell):
        self.asked.append(spec)
        if self.outcome is not None:
            return self.outcome
        return await self.take_in(replace(spec, file="/cache/far.gguf", footprint=SIZED))


class Appraising(Predictions):
    needs = SIZED

    def footprint(self, spec):
        return None if spec.file is None else self.needs

    def appraise(self, spec):
        return Appraisal(spec, ESTIMATE, SIZED)

    def ways(self, spec):
        """In a folder of three: the largest never fits, the smallest always does."""
        return [
            Way(replace(spec, name=name, footprint=footprint), file(name), own=own)
            for name, footprint, own in (
                ("Q8_0", HUGE, False),
                ("Q4_K_M", spec.footprint, True),
                ("Q2_K", SIZED, False),
            )
        ]


def file(quantization):
    return FittingFile(file=f"/m-{quantization}.gguf", quantization=quantization, size_bytes=1)


def play(tmp_path, scene, hub, **more):
    file = tmp_path / "orchestrator.yaml"
    file.write_text(FILE)
    (tmp_path / "state").mkdir()

    def load():
        return load_config(file, environ={})

    predictions = Appraising(Headers())
    predictions.needs = more.get("needs", SIZED)

    async def played():
        world = machine.world()
        catalogue = Catalogue(
            config=load(),
            load=load,
            experience=Experience(),
            predictions=predictions,
            cached={}.get,
        )
        hub.take_in = catalogue.take_in
        drivers = Drivers(engine=FakeWorldEngine(world), runtime=world.runtime, supplies=(hub,))
        by = {machine.SERVICE: drivers} if more.get("drivers", True) else {}
        async with machine.conducting(world, by=by) as conductor:
            await scene(Previews(conductor, catalogue))

    run(played())


def test_a_plan_for_a_model_on_a_hub_finds_out_what_it_takes(tmp_path):
    hub = Hub()

    async def scene(previews):
        preview = await previews.of(LoadOrder(model="far"))
        assert (preview.spec.footprint, preview.refusal) == (SIZED, None)
        assert preview.plan.placement.total_bytes == SIZED.device_bytes
        hub.asked.clear()
        hub.brings = True
        preview = await previews.of(LoadOrder(model="far"))
        assert (preview.spec.footprint, hub.asked) == (SIZED, []), "known, and nothing is brought"

    play(tmp_path, scene, hub)


def test_a_hub_that_does_not_tell_is_the_reason_of_the_refusal(tmp_path):
    async def scene(previews):
        preview = await previews.of(LoadOrder(model="far"))
        assert preview.plan is None
        refusal = preview.refusal
        assert (refusal.code, refusal.failure) == (RefusalCode.LOAD_FAILED, NOT_THERE)
        assert refusal.remedy == "pull it."

    play(tmp_path, scene, Hub(NOT_THERE))


def test_an_estimate_looks_at_what_may_not_be_downloaded_as_well(tmp_path):
    hub = Hub()

    async def scene(previews):
        told = await previews.estimate(EstimateOrder(model="far"))
        assert told.spec.file == "/cache/far.gguf"
        assert told.fitting_file is None, "its own is the best that fits"
        (asked,) = hub.asked
        assert asked.auto_download
        assert asked.footprint.unknown

    play(tmp_path, scene, hub)


def test_a_file_on_a_hub_is_estimated_before_it_is_a_model(tmp_path):
    hub = Hub()

    async def scene(previews):
        order = EstimateOrder(file="org/other:Q4_K_M")
        assert (await previews.estimate(order)).spec.file == "/cache/far.gguf"
        (asked,) = hub.asked
        assert (asked.hub, asked.footprint.unknown) == ("org/other:Q4_K_M", True)
        assert set(previews._catalogue.specs) == {"far"}

    play(tmp_path, scene, hub)


def test_a_file_that_a_hub_does_not_have_is_no_estimate(tmp_path):
    async def scene(previews):
        with pytest.raises(Denied, match="it is not there"):
            await previews.estimate(EstimateOrder(file="org/other:Q4_K_M"))

    play(tmp_path, scene, Hub(NOT_THERE))


def test_a_file_on_a_hub_needs_a_service_that_runs(tmp_path):
    async def scene(previews):
        with pytest.raises(Denied, match="when the orchestrator was started"):
            await previews.estimate(EstimateOrder(file="org/other:Q4_K_M"))

    play(tmp_path, scene, Hub(), drivers=False)


def test_an_estimate_that_the_hub_refuses_says_why(tmp_path):
    async def scene(previews):
        with pytest.raises(Denied, match="it is not there"):
            await previews.estimate(EstimateOrder(model="far"))

    play(tmp_path, scene, Hub(NOT_THERE))


def test_a_service_that_came_with_a_reload_cannot_start_anything_yet(tmp_path):
    async def scene(previews):
        with pytest.raises(Denied, match="when the orchestrator was started"):
            await previews.startable(LoadOrder(model="far"))

    play(tmp_path, scene, Hub(), drivers=False)


@pytest.mark.parametrize(("needs", "best"), [(HUGE, "Q2_K"), (SIZED, None)])
def test_a_refusal_names_the_best_quantization_that_would_fit(tmp_path, needs, best):
    code = RefusalCode.DOES_NOT_FIT
    refused = Refusal(code=code, detail="it is too large.", remedy="Less.", room_bytes=1)

    async def scene(previews):
        await previews.of(LoadOrder(model="far"))
        told = await previews.with_suggestions(LoadOrder(model="far"), refused)
        if best is None:
            assert told.fitting_file is None
        else:
            assert told.fitting_file == file(best)
            assert "Q2_K of it would fit: file: /m-Q2_K.gguf." in told.remedy

    play(tmp_path, scene, Hub(), needs=needs)
