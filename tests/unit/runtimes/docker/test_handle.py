from dataclasses import replace

import pytest

from orchestrator.errors import Unreachable
from orchestrator.runtimes.docker.handle import HANDLE_VERSION, Thing

THING = Thing(container="c0ffee", name="vram-a-1", ours=True)


@pytest.mark.parametrize(
    "thing", [THING, replace(THING, ours=False), replace(THING, ours=False, id="f00d")]
)
def test_a_handle_says_all_that_is_needed(thing):
    assert Thing.of(thing.handle()) == thing


@pytest.mark.parametrize("change", [{"version": HANDLE_VERSION + 1}, {"runtime": "process"}])
def test_a_handle_of_somebody_else_finds_nothing(change):
    with pytest.raises(Unreachable, match="not one of docker"):
        Thing.of(replace(THING.handle(), **change))


def test_a_named_container_is_found_by_its_id_where_the_handle_has_it():
    named = Thing(container="llama-cpp", name="llama-cpp", ours=False, id="f00d")
    assert named.reference == "f00d"
    before_it_was_kept = {"container": "llama-cpp", "name": "llama-cpp", "ours": 0}
    assert Thing.of(replace(named.handle(), fields=before_it_was_kept)).reference == "llama-cpp"
    assert THING.reference == "c0ffee"
