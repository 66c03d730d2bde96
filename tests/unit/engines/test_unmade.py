"""What stands in the place of an engine that cannot be used."""

import asyncio

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import Endpoint, ReadyState
from orchestrator.engines.unmade import UnmadeEngine
from orchestrator.errors import CannotAsk, StartFailed, Unreachable
from orchestrator.ports import Exit
from tests.unit.engines.launched import INSTANCE, ON_HOST, spec_of

HERE = Endpoint("http://127.0.0.1:9")


def test_it_loads_nothing_and_says_why():
    made = UnmadeEngine("engine mine cannot be made: it rains")
    failure = asyncio.run(made.check(spec_of()))
    assert failure.reason is FailureReason.CONFIGURATION
    assert failure.detail == "engine mine cannot be made: it rains."
    with pytest.raises(StartFailed):
        made.launch(INSTANCE, spec_of(), ON_HOST)


def test_what_still_runs_is_left_alone():
    made = UnmadeEngine("it rains")
    assert asyncio.run(made.readiness(HERE)).state is ReadyState.READY
    assert not made.tells_use
    with pytest.raises(CannotAsk, match="it rains"):
        asyncio.run(made.use(HERE))
    assert made.classify(Exit(code=1, log_tail=("a",))).log_tail == ("a",)


def test_what_we_started_gives_back_what_it_holds_when_it_is_stopped():
    asyncio.run(UnmadeEngine("it rains").unload(HERE, spec_of()))
    theirs = UnmadeEngine("it rains", external=True)
    with pytest.raises(Unreachable, match="it rains"):
        asyncio.run(theirs.unload(HERE, spec_of()))
