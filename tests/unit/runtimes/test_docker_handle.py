from dataclasses import replace

import pytest

from orchestrator.errors import Unreachable
from orchestrator.runtimes.docker_handle import HANDLE_VERSION, Thing

THING = Thing(container="c0ffee", name="vram-a-1", ours=True)


@pytest.mark.parametrize("thing", [THING, replace(THING, ours=False)])
def test_a_handle_says_all_that_is_needed(thing):
    assert Thing.of(thing.handle()) == thing


@pytest.mark.parametrize("change", [{"version": HANDLE_VERSION + 1}, {"runtime": "process"}])
def test_a_handle_of_somebody_else_finds_nothing(change):
    with pytest.raises(Unreachable, match="not one of docker"):
        Thing.of(replace(THING.handle(), **change))
