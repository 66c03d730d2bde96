"""What does not go together in a service, and what follows from how it is written."""

from dataclasses import replace

import pytest

from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.config.services import (
    closes,
    home_service,
    launches_files,
    service_mistakes,
    tells_use,
    we_start,
)
from orchestrator.config.yaml_lines import show

DOCKER = ServiceEntry(
    engine="llama_cpp", runtime=RuntimeName.DOCKER, image="org/server:1", auto_pull=True
)
HERE = ServiceEntry(engine="llama_cpp")
FAKE = ServiceEntry(engine="fake")
COMMAND = ServiceEntry(engine="command", command=("a", "${PORT}"))


def test_whose_servers_are_started_on_files_by_us():
    elsewhere = replace(HERE, runtime=RuntimeName.EXTERNAL)
    named = replace(DOCKER, image=None, container="llama-cpp")
    services = (HERE, DOCKER, elsewhere, named, FAKE, COMMAND)
    assert [launches_files(entry) for entry in services] == [True, True, *[False] * 4]
    assert [we_start(entry) for entry in services] == [True, True, False, False, True, True]


def test_models_that_name_no_service_are_run_by_the_first_that_can():
    assert home_service({"fake": FAKE}, lambda _: False) == "fake"
    services = {"fake": FAKE, "a": HERE, "b": DOCKER}
    assert home_service(services, lambda entry: entry is DOCKER) == "b"
    assert home_service(services, lambda _: False) == "a"
    assert home_service({}, lambda _: True) is None


def test_a_program_tells_its_use_by_its_metrics():
    assert not tells_use(COMMAND)
    assert tells_use(replace(COMMAND, metrics="/metrics"))
    assert tells_use(FAKE)


def test_what_any_program_in_a_container_needs_is_its_name():
    keys = {"runtime": RuntimeName.DOCKER, "container": "whisperx", "url": "http://whisperx:9000"}
    service = ServiceEntry(engine="container", **keys, health="/ready")
    assert list(service_mistakes(service)) == []


@pytest.mark.parametrize(
    ("keys", "where", "word"),
    [
        ({"engine": "fake", "runtime": "docker"}, "runtime", "process"),
        ({"engine": "llama_cpp", "runtime": "docker"}, "image", "image"),
        ({"engine": "llama_cpp", "image": "i"}, "image", "only for runtime docker"),
        ({"engine": "llama_cpp", "direct": True}, "direct", "only for runtime docker"),
        ({"engine": "container"}, "runtime", "docker"),
        ({"engine": "container", "runtime": "docker", "image": "i"}, "container", "required"),
        (
            {"engine": "fake", "health": "/ready"},
            "health",
            "only for engines command and container",
        ),
        ({"engine": "xllamacpp", "binary": "x"}, "binary", "only for engine llama_cpp"),
        ({"engine": "llama_cpp", "url": "http://a"}, "url", "only for runtime external"),
    ],
)
def test_what_does_not_go_together_in_a_service(keys, where, word):
    service = ServiceEntry(
        **{
            **keys,
            "engine": keys["engine"],
            "runtime": RuntimeName(keys.get("runtime", "process")),
        }
    )
    [mistake] = service_mistakes(service)
    assert show(mistake.where) == where
    assert word in mistake.sentence


def test_docker_takes_an_image_or_a_container():
    for keys in ({"image": "i"}, {"container": "c"}):
        service = ServiceEntry(engine="llama_cpp", runtime=RuntimeName.DOCKER, **keys)
        assert list(service_mistakes(service)) == []


def test_only_images_are_pulled():
    named = replace(DOCKER, image=None, container="llama-cpp")
    assert [show(each.where) for each in service_mistakes(named)] == ["auto_pull"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"direct": True, "image": None, "container": "llama-cpp"}, "direct"),
        ({"direct": True, "network": "stack"}, "host"),
        ({"host": "box.lan"}, "host"),
    ],
)
def test_what_does_not_go_together_with_direct(changes, key):
    service = replace(DOCKER, auto_pull=False, **changes)
    assert key in [show(each.where) for each in service_mistakes(service)]


def test_a_direct_service_in_a_network_says_what_it_is_called():
    service = replace(DOCKER, direct=True, network="stack", host="box.lan")
    assert list(service_mistakes(service)) == []


@pytest.mark.parametrize(
    "service",
    [
        replace(DOCKER, image=None, container="llama-cpp"),
        COMMAND,
        replace(HERE, runtime=RuntimeName.EXTERNAL),
    ],
)
def test_only_servers_that_we_start_have_keys(service):
    closed = replace(service, closed=True)
    assert "closed" in [show(each.where) for each in service_mistakes(closed)]


@pytest.mark.parametrize(
    ("service", "keyed", "closed"),
    [
        (HERE, False, False),
        (HERE, True, True),
        (replace(HERE, closed=False), True, False),
        (replace(HERE, closed=True), False, True),
        (DOCKER, True, True),
        (DOCKER, False, False),
        (replace(DOCKER, direct=True), True, False),
        (replace(DOCKER, image=None, container="llama-cpp"), True, False),
        (COMMAND, True, False),
    ],
)
def test_servers_are_closed_where_there_are_keys_unless_the_service_says_otherwise(
    service, keyed, closed
):
    assert closes(service, keyed=keyed) is closed


@pytest.mark.parametrize("service", [HERE, FAKE, DOCKER, ServiceEntry(engine="xllamacpp")])
def test_those_may_have_keys(service):
    assert not list(service_mistakes(replace(service, closed=True)))


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"networks": ("a", "bridge")}, "networks"),
        ({"networks": ("a",), "image": None, "auto_pull": False, "container": "c"}, "networks"),
        ({"direct": True, "closed": True}, "direct"),
    ],
)
def test_ways_to_a_container_that_contradict_each_other(said, where):
    assert [show(each.where) for each in service_mistakes(replace(DOCKER, **said))] == [where]


def test_a_container_on_dockers_own_bridge_may_be_direct():
    assert not list(service_mistakes(replace(DOCKER, network="bridge", direct=True)))
