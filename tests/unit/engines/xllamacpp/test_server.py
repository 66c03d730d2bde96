"""The program itself; that it serves like any other server is in tests/contracts."""

import signal
import subprocess
import time

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.specs import Serving
from orchestrator.engines.llama.log import classify
from orchestrator.engines.python_program import import_path, program
from orchestrator.engines.xllamacpp.launcher import XLlamaCppLauncher
from orchestrator.ports import Exit
from tests.unit.engines.launched import (
    INSTANCE,
    ON_HOST,
    becomes_ready,
    launched,
    llama_engine,
    real_model,
    scrubbed,
    spec_of,
    until,
    with_http,
)


def test_wrong_arguments_end_it_with_the_reason():
    done = subprocess.run(
        [*program("orchestrator.engines.xllamacpp.server"), "-m", "x", "-ctk", "q9"],
        env=scrubbed(import_path()),
        capture_output=True,
        text=True,
        check=False,
    )
    failure = classify(Exit(code=done.returncode, log_tail=tuple(done.stderr.splitlines())))
    assert failure.reason is FailureReason.ARGUMENTS
    assert "q9" in failure.detail


def test_a_server_that_does_not_come_up_ends_without_a_traceback(tmp_path):
    async def scene(http):
        engine = llama_engine(XLlamaCppLauncher(physical_cores=2), http)
        launch = engine.launch(INSTANCE, spec_of(file=str(tmp_path / "none.gguf")), ON_HOST)
        with launched(launch) as server:
            exit_ = server.exit()
        assert exit_.code == 1
        assert not any("Traceback" in line for line in exit_.log_tail)
        assert engine.classify(exit_).reason is FailureReason.MODEL_FILE

    with_http(scene)


def test_sigterm_ends_it_at_once_also_while_it_loads():
    async def scene(http):
        engine = llama_engine(XLlamaCppLauncher(physical_cores=2), http)
        spec = spec_of(file=str(real_model()), serving=Serving(context_size=512))
        launch = engine.launch(INSTANCE, spec, ON_HOST)
        with launched(launch) as server:

            async def loads() -> bool:
                return "loading model" in server.log_text()

            await until(loads)
            assert ended_within_a_second(server)
        with launched(launch) as server:
            await becomes_ready(engine, server)
            assert ended_within_a_second(server)

    with_http(scene)


def ended_within_a_second(server) -> bool:
    told_s = time.monotonic()
    server.process.terminate()
    return server.exit().code == -signal.SIGTERM and time.monotonic() - told_s < 1
