"""Where containers answer, as an inspection tells."""

from dataclasses import replace

import pytest

from orchestrator.core.values.residents import Endpoint
from orchestrator.runtimes.docker.create import ContainerSettings
from orchestrator.runtimes.docker.endpoints import named_endpoint, own_endpoint
from orchestrator.runtimes.docker.engine import Container

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
    addresses={"stack": "172.18.0.2"},
)
ALONE = ContainerSettings(identity="home", version="0.1.0")


@pytest.mark.parametrize(
    ("changes", "endpoint"),
    [
        ({}, Endpoint("http://127.0.0.1:49153")),
        ({"network": "stack"}, Endpoint("http://vram-a:8080")),
        ({"direct": "box.lan"}, Endpoint("http://127.0.0.1:49153", "http://box.lan:49153")),
        (
            {"network": "stack", "direct": "box.lan"},
            Endpoint("http://vram-a:8080", "http://box.lan:49153"),
        ),
    ],
)
def test_ours_answers_where_it_was_put(changes, endpoint):
    assert own_endpoint(SEEN, replace(ALONE, **changes)) == endpoint


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
