"""The compose stack: what its file says, and both profiles brought up on a real engine.

The `gpu` profile meets a stand-in of NVIDIA's hook and driver; the model server is the one for CPUs.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator

import pytest
import yaml

from orchestrator.config import load_config
from tests.contracts.compose_parts import IMAGES, Stack, running_stack
from tests.parts import require
from tests.scenarios.daemon import ROOT

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILES = [ROOT / "orchestrator" / "Dockerfile", ROOT / "nginx" / "Dockerfile"]
CHAT = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}


# --- what the files say --------------------------------------------------------------------------


def test_socket_is_given_to_nobody_but_the_guard():
    volumes = {name: " ".join(each.get("volumes", [])) for name, each in SERVICES.items()}
    holders = [name for name, each in volumes.items() if "docker.sock" in each]
    assert holders == ["docker-guard"]
    assert SERVICES["docker-guard"]["network_mode"] == "none"


def test_every_service_is_hardened_and_has_a_health_check():
    for name in ("docker-guard", "model-orchestrator", "model-orchestrator-cpu", "nginx"):
        each = SERVICES[name]
        assert each["read_only"] is True
        assert each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
    for name, each in SERVICES.items():
        ours = name in ("docker-guard", "n8n")
        file = each.get("build", {}).get("dockerfile", "nginx/Dockerfile")
        assert ours == ("healthcheck" in each)
        assert ours or "HEALTHCHECK" in (ROOT / file).read_text()


def test_names_that_workflows_call_are_there_in_both_profiles():
    for profile in ("gpu", "cpu"):
        chosen = [each for each in SERVICES.values() if profile in each.get("profiles", [profile])]
        networks = [each["networks"] for each in chosen if isinstance(each.get("networks"), dict)]
        names = {name for each in networks for name in each["vram-orchestrator"]["aliases"]}
        assert names == {"model-orchestrator", "llama-cpp", "orchestrator.lan", "llama.lan"}


def test_gpus_are_asked_for_by_the_gpu_profile_only():
    with_gpus = {name for name, each in SERVICES.items() if "deploy" in each}
    assert with_gpus == {"model-orchestrator", "llama-cpp"}
    assert all(SERVICES[name]["profiles"] == ["gpu"] for name in with_gpus)


def test_every_variable_has_a_default_or_a_remedy_and_is_in_the_example():
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    example = (ROOT / ".env.example").read_text()
    told = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", example, re.MULTILINE))
    assert used - told == set()
    assert told - used == {"COMPOSE_PROFILES"}


@pytest.mark.parametrize("name", ["compose-gpu.yaml", "compose-cpu.yaml"])
def test_configuration_of_the_stack_loads_and_knows_its_names(name):
    config = load_config(ROOT / "orchestrator" / name, environ={"HOME": "/tmp"})
    assert "orchestrator.lan" in config.server.allowed_hosts
    assert config.services["llama-cpp"].container == "llama-cpp"
    images = {each.image for each in config.services.values() if each.image}
    allowed = SERVICES["docker-guard"]["environment"]["GUARD_IMAGES"]
    assert all(f"-{each}}}" in allowed for each in images)
    watched = SERVICES["docker-guard"]["environment"]["GUARD_CONTAINERS"]
    containers = {each.container for each in config.services.values() if each.container}
    assert all(each in watched for each in containers)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_base_images_are_arguments_and_nobody_runs_as_root(path):
    text = path.read_text()
    assert set(re.findall(r"^FROM (\S+) AS \w+$", text, re.MULTILINE)) == {"${BASE}"}
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE)


def test_compose_accepts_the_file(tmp_path):
    """By the compose specification's schema, which docker-compose holds it to."""
    require("compose")
    file = ("--env-file", ".env.example", "-f", "compose.yaml", "config")
    done = subprocess.run(
        ["docker-compose", *file], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    empty = tmp_path / "env"
    empty.touch()
    nothing_said = subprocess.run(
        ["docker-compose", "--env-file", empty, "-f", "compose.yaml", "config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert nothing_said.returncode != 0
    assert "copy .env.example to .env" in nothing_said.stderr


# --- the stack, brought up -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("compose"), "cpu") as each:
        yield each


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_container_of_compose_is_loaded_chatted_with_and_stopped(stack):
    loaded = stack.orchestrator("POST", "/models/load", {"model": "smollm2"})
    assert (loaded["status"], loaded["endpoint"]) == ("loaded", "http://llama-cpp:8000")
    said = stack.ask("llama.lan", "POST", "/v1/chat/completions", CHAT | {"max_tokens": 24})
    assert said.status_code == 200, said.text
    assert said.json()["choices"][0]["message"]["content"]
    gone = stack.orchestrator("POST", "/models/unload", {"model": "smollm2"})
    assert (gone["status"], gone["verified"]) == ("unloaded", True)
    assert stack.state("llama-cpp") == "exited"
    refused = stack.ask("llama.lan", "POST", "/v1/chat/completions", CHAT)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    again = stack.orchestrator("POST", "/models/load", {"model": "smollm2"})
    assert again["already_loaded"] is False
    assert stack.inspect("llama-cpp")["State"]["Running"]


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_container_of_our_own_is_made_through_the_guard(stack):
    loaded = stack.orchestrator("POST", "/models/load", {"model": "made"})
    label = f"label=vram-orchestrator.identity={stack.project}"
    (made,) = stack.docker("ps", "-q", "--filter", label).split()
    seen = stack.inspect(made)
    assert seen["Config"]["Labels"]["vram-orchestrator.model"] == "made"
    assert seen["HostConfig"]["PortBindings"] in (None, {}), "nothing is published"
    assert [each["RW"] for each in seen["Mounts"] if each["Type"] == "bind"] == [False]
    assert "vram-orchestrator" in seen["NetworkSettings"]["Networks"]
    ask = (
        "import json, sys, urllib.request as u; r = u.Request(sys.argv[1], sys.argv[2].encode(), "
        "{'Content-Type': 'application/json'}); print(u.urlopen(r, timeout=60).read().decode())"
    )
    url = loaded["endpoint"] + "/v1/chat/completions"
    wish = json.dumps(CHAT | {"max_tokens": 16})
    orchestrator = stack.container("model-orchestrator-cpu")
    answer = json.loads(stack.docker("exec", orchestrator, "python3", "-c", ask, url, wish))
    assert answer["choices"][0]["message"]["content"]


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_orchestrator_that_is_killed_finds_both_again(stack):
    for name in ("smollm2", "made"):
        stack.orchestrator("POST", "/models/load", {"model": name})
    label = f"label=vram-orchestrator.identity={stack.project}"
    before = stack.docker("ps", "-q", "--filter", label), stack.inspect("llama-cpp")["State"]["Pid"]
    orchestrator = stack.container("model-orchestrator-cpu")
    began = time.monotonic()
    stack.docker("kill", "--signal", "KILL", orchestrator)
    stack.docker("start", orchestrator)
    down = stack.ask("orchestrator.lan", "GET", "/models/status").status_code
    assert down in (200, 503), "never anything else while it is away"

    def is_back() -> bool:
        return stack.ask("orchestrator.lan", "GET", "/models/status").status_code == 200

    stack.until(is_back, "the orchestrator answers again")
    print(f"back after {time.monotonic() - began:.1f} s")
    both = {"smollm2": "loaded", "made": "loaded"}
    stack.until(lambda: stack.loaded() == both, f"adopted: {both}")
    after = stack.docker("ps", "-q", "--filter", label), stack.inspect("llama-cpp")["State"]["Pid"]
    assert after == before, "the same containers, the same process"


@pytest.mark.docker
@pytest.mark.llama_cpp
@pytest.mark.compiler
def test_gpus_are_requested_and_read_by_uuid(stack, tmp_path):
    stack.take_away()  # both profiles have a container called llama-cpp
    with running_stack(tmp_path, "gpu") as gpus:
        (asked,) = gpus.inspect("llama-cpp")["HostConfig"]["DeviceRequests"]
        assert (asked["Driver"], asked["Count"]) == ("nvidia", -1)
        assert asked["Capabilities"] == [["gpu"]]
        status = gpus.orchestrator("GET", "/models/status")
        cards = [each for each in status["devices"] if each["kind"] == "gpu"]
        totals = {each["id"]: each["total_mb"] for each in cards}
        assert totals == {"GPU-aaaa": 32768, "GPU-bbbb": 8192}, "as the driver says"
        chat_model = gpus.orchestrator("POST", "/models/load", {"model": "qwen3-vl-30b"})
        assert [each["device"] for each in chat_model["devices"]] == ["GPU-aaaa"]
        made = gpus.orchestrator("POST", "/models/load", {"model": "made"})
        label = f"label=vram-orchestrator.identity={gpus.project}"
        (container,) = gpus.docker("ps", "-q", "--filter", label).split()
        seen = gpus.inspect(container)
        assert seen["Config"]["Image"] == IMAGES["LLAMA_IMAGE"]
        (request,) = seen["HostConfig"]["DeviceRequests"]
        assert request["DeviceIDs"] == [each["device"] for each in made["devices"]]
        environment = gpus.docker("exec", container, "busybox", "env").splitlines()
        assert f"CUDA_VISIBLE_DEVICES={request['DeviceIDs'][0]}" in environment
