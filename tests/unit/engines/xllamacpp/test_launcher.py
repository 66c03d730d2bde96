from orchestrator.core.values.failures import FailureReason
from orchestrator.engines.xllamacpp.engine import XLlamaCpp
from tests.unit.engines.launched import INSTANCE, ON_HOST, real_model, spec_of, with_http


def with_engine(scene) -> None:
    with_http(lambda http: scene(XLlamaCpp(http, physical_cores=2)))


def test_it_runs_in_a_process_of_its_own():
    async def scene(engine):
        launch = engine.launch(INSTANCE, spec_of(file="/m.gguf"), ON_HOST)
        assert "orchestrator.engines.xllamacpp.server" in launch.argv
        assert {"PYTHONPATH", "CUDA_VISIBLE_DEVICES"} <= set(launch.env)

    with_engine(scene)


def test_a_real_model_passes_and_a_text_does_not(tmp_path):
    text = tmp_path / "text.gguf"
    text.write_text("not a model")

    async def scene(engine):
        assert await engine.check(spec_of(file=str(real_model()))) is None
        failure = await engine.check(spec_of(file=str(text)))
        assert failure.reason is FailureReason.MODEL_FILE

    with_engine(scene)
