"""The engine of the wheel, as it is made for a service."""

from orchestrator.core.values.failures import FailureReason
from orchestrator.engines.premises import Premises
from orchestrator.engines.xllamacpp.engine import make
from orchestrator.ports import Exit
from tests.unit.engines.launched import INSTANCE, ON_HOST, spec_of, with_http


def test_it_runs_the_server_beside_it():
    async def scene(http):
        made = make(Premises(http=http, physical_cores=3))
        launch = made.launch(INSTANCE, spec_of(file="/m/a.gguf"), ON_HOST)
        assert "orchestrator.engines.xllamacpp.server" in launch.argv
        assert "3" in launch.argv  # threads
        ended = Exit(code=1, log_tail=("CUDA error: out of memory",))
        assert made.classify(ended).reason is FailureReason.OUT_OF_MEMORY
        assert made.tells_use

    with_http(scene)
