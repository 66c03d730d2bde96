"""How containers are found again, and where they answer, as an inspection tells."""

from dataclasses import replace

import pytest

from orchestrator.core.values.residents import Endpoint
from orchestrator.errors import Unreachable
from orchestrator.runtimes.docker.answers import Container
from orchestrator.runtimes.docker.create import ContainerSettings
from orchestrator.runtimes.docker.handle import (
    HANDLE_VERSION,
    ContainerRef,
    named_endpoint,
    own_endpoint,
)

OURS = ContainerRef(container="c0ffee", name="vram-a-1", ours=True)


@pytest.mark.parametrize(
    "ref", [OURS, replace(OURS, ours=False), replace(OURS, ours=False, id="f00d")]
)
def test_a_handle_says_all_that_is_needed(ref):
    assert ContainerRef.of(ref.handle()) == ref


@pytest.mark.parametrize("change", [{"version": HANDLE_VERSION + 1}, {"runtime": "process"}])
def test_a_handle_of_somebody_else_finds_nothing(change):
    with pytest.raises(Unreachable, match="not one of docker"):
        ContainerRef.of(replace(OURS.handle(), **change))


def test_a_named_container_is_found_by_its_id_where_the_handle_has_it():
    named = ContainerRef(container="llama-cpp", name="llama-cpp", ours=False, id="f00d")
    assert named.reference == "f00d"
    before_it_was_kept = {"container": "llama-cpp", "name": "llama-cpp", "ours": 0}
    assert (
        ContainerRef.of(replace(named.handle(), fields=before_it_was_kept)).reference == "llama-cpp"
    )
    assert OURS.reference == "c0ffee"


SEEN = Container(
    id="abc",
    name="vram-a",
    labels={},
    running=True,
    exit_code=None,
    out_of_memory=False,
    pid=1,
    started_at="x",
    gpus=frozenset(),
    ports={8080: 49153},
    addresses={"stack": "172.18.0.2", "vram-closed-home": "172.19.0.2"},
)
ALONE = ContainerSettings(identity="home", version="0.1.0")


@pytest.mark.parametrize(
    ("network", "direct", "endpoint"),
    [
        ("bridge", None, Endpoint("http://127.0.0.1:49153")),
        ("stack", None, Endpoint("http://vram-a:8080")),
        ("vram-closed-home", None, Endpoint("http://172.19.0.2:8080")),
        ("bridge", "box.lan", Endpoint("http://127.0.0.1:49153", "http://box.lan:49153")),
        ("stack", "box.lan", Endpoint("http://vram-a:8080", "http://box.lan:49153")),
    ],
)
def test_ours_answers_where_it_was_put(network, direct, endpoint):
    assert own_endpoint(replace(SEEN, network=network), replace(ALONE, direct=direct)) == endpoint


@pytest.mark.parametrize("changes", [{"network": "stack"}, {"isolated": True}])
def test_what_was_made_under_other_settings_answers_where_it_is(changes):
    before = replace(SEEN, network="bridge")
    assert own_endpoint(before, replace(ALONE, **changes)) == Endpoint("http://127.0.0.1:49153")
    shared = replace(SEEN, ports={8080: None}, network="stack")
    assert own_endpoint(shared, replace(ALONE, isolated=True)) == Endpoint("http://vram-a:8080")


def test_what_has_ended_has_no_port_and_never_answers():
    assert own_endpoint(replace(SEEN, ports={8080: None}), ALONE).url == "http://127.0.0.1:0"


@pytest.mark.parametrize(
    ("seen", "network", "configured", "url"),
    [
        (SEEN, None, "http://there:1", "http://there:1"),
        (SEEN, "stack", None, "http://vram-a:8080"),
        (SEEN, None, None, "http://127.0.0.1:49153"),
        (replace(SEEN, ports={8080: None}), None, None, "http://172.18.0.2:8080"),
        (replace(SEEN, ports={}, addresses={}), None, None, "http://vram-a:80"),
    ],
)
def test_a_named_one_answers_as_far_as_it_can_be_told(seen, network, configured, url):
    assert named_endpoint(seen, network, configured) == Endpoint(url)
