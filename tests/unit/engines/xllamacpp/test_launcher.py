import asyncio

from orchestrator.core.values.failures import FailureReason
from orchestrator.engines.xllamacpp.launcher import XLlamaCppLauncher
from tests.unit.engines.launched import INSTANCE, ON_HOST, real_model, spec_of


def with_launcher(scene) -> None:
    asyncio.run(scene(XLlamaCppLauncher(physical_cores=2)))


def test_it_runs_in_a_process_of_its_own():
    async def scene(launcher):
        launch = launcher.launch(INSTANCE, spec_of(file="/m.gguf"), ON_HOST)
        assert "orchestrator.engines.xllamacpp.server" in launch.argv
        assert {"PYTHONPATH", "CUDA_VISIBLE_DEVICES"} <= set(launch.env)

    with_launcher(scene)


def test_a_real_model_passes_and_a_text_does_not(tmp_path):
    text = tmp_path / "text.gguf"
    text.write_text("not a model")

    async def scene(launcher):
        assert await launcher.check(spec_of(file=str(real_model()))) is None
        failure = await launcher.check(spec_of(file=str(text)))
        assert failure.reason is FailureReason.MODEL_FILE

    with_launcher(scene)
