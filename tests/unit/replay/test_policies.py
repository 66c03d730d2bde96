from dataclasses import replace

import pytest

from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.replay.policies import (
    POLICIES,
    PolicyName,
    RealScheduler,
    alone,
    specs_for,
)
from orchestrator.replay.trace import VirtualDevice
from orchestrator.replay.virtual_machine import VirtualMachine
from tests.unit.replay.histories import CARD, demand, spec

# The card lacks 6 GiB for `new`: the large one is dear and used often, the two small ones are
# cheap, and one of them was used last.
MODELS = {
    one.name: one
    for one in (
        spec("large", 12, 40.0),
        spec("small", 6, 1.0),
        spec("tiny", 5, 30.0),
        spec("new", 7, 5.0),
    )
}
BEFORE = [
    *(demand(at_s, "large") for at_s in range(0, 400, 50)),
    demand(410, "tiny"),
    demand(500, "small"),
]


def gone(policy):
    """Which model has to be loaded again after `new` has come."""
    found = []
    for name in ("large", "small", "tiny"):
        specs = specs_for(MODELS, policy, [CARD], 0)
        scheduler = RealScheduler(specs, policy=POLICIES[policy])
        demands = [*BEFORE, demand(600, "new"), demand(700, name)]
        tally = VirtualMachine([CARD], scheduler, specs).live(demands)
        if tally.answered[-1].waited_s > 0:
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("policy", "leaves"),
    [
        (PolicyName.REGRET, ["small"]),
        (PolicyName.LRU, ["large"]),
        (PolicyName.LARGEST, ["large"]),
        (PolicyName.FEWEST, ["small"]),
        (PolicyName.ONE_AT_A_TIME, ["large", "small", "tiny"]),
    ],
)
def test_each_policy_has_its_own_victims(policy, leaves):
    assert gone(policy) == leaves


def test_alone_is_the_whole_of_the_smallest_device_that_is_large_enough():
    devices = [
        replace(CARD, id=DeviceId(name), total_bytes=size * GiB)
        for name, size in (("g0", 8), ("g1", 24), ("g2", 48))
    ]
    assert alone(spec("a", 14), devices, GiB).footprint.device_bytes == 23 * GiB
    assert alone(spec("a", 60), devices, GiB) == spec("a", 60)


def test_alone_leaves_others_their_bytes():
    crowded = VirtualDevice(
        id=DeviceId("g0"), name="Card", total_bytes=24 * GiB, foreign_bytes=4 * GiB
    )
    assert alone(spec("a", 14), [crowded], 0).footprint.device_bytes == 20 * GiB
