import pytest

from orchestrator.core.values.specs import FakeBehaviour, FakeFailure
from orchestrator.core.values.vram import DeviceId
from orchestrator.runtimes.fake.script import Script


@pytest.mark.parametrize(
    "script",
    [
        Script(),
        Script(shares=((DeviceId("g0"), 5), (DeviceId("g1"), 6)), exit_code=3, log_lines=4),
        Script(exits_after_s=0.5, behaviour=FakeBehaviour(fail=FakeFailure.EXITS, stop_s=2)),
    ],
)
def test_a_script_travels_as_an_argv(script):
    assert Script.of(script.argv()) == script


@pytest.mark.parametrize(
    "argv", [(), ("fake",), ("sh", "{}"), ("fake", "no json"), ("fake", "{}"), ("fake", "[]")]
)
def test_what_is_no_script_is_refused(argv):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Script.of(argv)
