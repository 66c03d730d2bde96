"""The compose stack: what its file says, and both profiles brought up on a real engine.

The `gpu` profile meets a stand-in of NVIDIA's hook and driver; the model server is the one for CPUs.
"""

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from shutil import which

import httpx
import pytest
import yaml

from orchestrator.config.loading import load_config
from tests import walks
from tests.contracts import docker_parts
from tests.contracts.compose_parts import (
    HUB_REPO,
    IMAGES,
    MODEL_FILE,
    Stack,
    only_stack,
    running_stack,
    say,
)
from tests.contracts.test_workflow_files import FILES as WORKFLOWS
from tests.contracts.test_workflow_files import assignments, nodes
from tests.documents import DOCS, blocks
from tests.parts import require
from tests.scenarios.daemon import ROOT
from tests.scenarios.n8n import SEED

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
JETSON = yaml.safe_load((ROOT / "compose.jetson.yaml").read_text())
SERVICES = COMPOSE["services"]
ENTRYPOINT = (ROOT / "llama_service" / "entrypoint").read_text()
# Settings that people have in their environment.
PEOPLES = {
    name: f"of-{name}"
    for name in (
        *("MODEL_PATH", "CONTEXT_SIZE", "N_GPU_LAYERS", "LLAMA_SERVER_URL", "LLAMA_MODEL_PATH"),
        *("LLAMA_CTX_SIZE", "LLAMA_THREADS", "LLAMA_BATCH_SIZE", "LLAMA_GPU_LAYERS"),
        *("LLAMA_MAX_TOKENS", "LLAMA_TEMPERATURE", "LLAMA_TOP_P", "LLAMA_TOP_K"),
        *("XLLAMACPP_N_CTX", "XLLAMACPP_N_GPU_LAYERS", "XLLAMACPP_N_THREADS"),
        *("XLLAMACPP_PARALLEL", "XLLAMACPP_CACHE_RAM_MIB", "CUDA_ALLOW_TF32"),
        *("MODEL", "HF_TOKEN", "HF_ENDPOINT"),
    )
}
ALIASES = {"llama-cpp": "qwen3-vl-30b", "llama-cpp-cpu": "smollm2"}
DOCKERFILES = [ROOT / "deploy" / "Dockerfile", ROOT / "nginx" / "Dockerfile"]
POST = (
    "import json, sys, urllib.request as u; r = u.Request(sys.argv[1], sys.argv[2].encode(), "
    "{'Content-Type': 'application/json'}); print(u.urlopen(r, timeout=60).read().decode())"
)
CHAT = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_tokens": 4,  # a model with random weights need not come to an end
}


# --- what the files say --------------------------------------------------------------------------


def test_socket_is_given_to_nobody_but_the_guard():
    volumes = {name: " ".join(each.get("volumes", [])) for name, each in SERVICES.items()}
    holders = [name for name, each in volumes.items() if "docker.sock" in each]
    assert holders == ["docker-guard"]
    assert SERVICES["docker-guard"]["network_mode"] == "none"


def test_sockets_of_the_edge_are_shared_by_nginx_and_the_orchestrator_alone():
    mounts = {name: " ".join(each.get("volumes", [])) for name, each in SERVICES.items()}
    holders = {name for name, each in mounts.items() if "edge-side:/run/orchestrator-edge" in each}
    assert holders == {"model-orchestrator", "model-orchestrator-cpu", "nginx"}
    for path in DOCKERFILES:
        text = path.read_text()
        assert "chown 65534:33 /run/orchestrator-edge" in text
        # With the group for what is made in it: nginx reads the keys that the daemon tells.
        assert "chmod 2770 /run/orchestrator-edge" in text


def test_every_service_is_hardened_and_has_a_health_check():
    for name in ("docker-guard", "model-orchestrator", "model-orchestrator-cpu", "nginx"):
        each = SERVICES[name]
        assert each["read_only"] is True
        assert each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
    for name, each in SERVICES.items():
        ours = name in ("docker-guard", "n8n", "prometheus", "grafana")
        file = each.get("build", {}).get("dockerfile", "nginx/Dockerfile")
        assert ours == ("healthcheck" in each)
        assert ours or "HEALTHCHECK" in (ROOT / file).read_text()


def test_names_that_workflows_call_are_there_in_both_profiles():
    for profile in ("gpu", "cpu"):
        mine = {profile, f"llama-{profile}"}
        chosen = [each for each in SERVICES.values() if mine & {*each.get("profiles", mine)}]
        networks = [each["networks"] for each in chosen if isinstance(each.get("networks"), dict)]
        names = {name for each in networks for name in each["vram-orchestrator"]["aliases"]}
        inside = {"orchestrator-inside", "edge-inside"}  # where these two listen
        names_of_all = {"model-orchestrator", "llama-cpp", "orchestrator.lan", "llama.lan"}
        assert names == names_of_all | inside


def test_networks_of_models_lead_nowhere_and_nobody_listens_in_them():
    """That whoever is in one reaches nothing is tried below."""
    stack = COMPOSE["networks"]
    pool = [name for name in stack if name.startswith("vram-models-")]
    assert len(pool) >= 4
    assert [stack[name] for name in pool] == [{"name": name, "internal": True} for name in pool]
    members = {name: {*each.get("networks", ())} for name, each in SERVICES.items()}
    inside = {name for name, networks in members.items() if networks & {*pool}}
    assert inside == {"model-orchestrator", "model-orchestrator-cpu", "nginx"}
    assert all({*pool} <= members[name] for name in inside)
    allowed = SERVICES["docker-guard"]["environment"]["GUARD_NETWORK"].split(",")
    assert allowed == ["vram-orchestrator", *pool]
    for config in ("config-gpu", "config-cpu", "config-jetson"):
        said = yaml.safe_load((ROOT / "deploy" / config / "orchestrator.yaml").read_text())
        assert said["services"]["llama"]["networks"] == pool
    for name in ("model-orchestrator", "model-orchestrator-cpu"):
        assert SERVICES[name]["command"] == [
            *("serve", "--host", "orchestrator-inside"),
            *("--health-port", "8001"),
        ]
    assert SERVICES["nginx"]["environment"]["EDGE_LISTEN"] == "edge-inside"


def test_gpus_are_asked_for_by_the_gpu_profile_only():
    with_gpus = {name for name, each in SERVICES.items() if "deploy" in each}
    assert with_gpus == {"model-orchestrator", "llama-cpp"}
    assert SERVICES["model-orchestrator"]["profiles"] == ["gpu"]
    assert SERVICES["llama-cpp"]["profiles"] == ["llama-gpu"]


def asked_gpus(service):
    (asked,) = SERVICES[service]["deploy"]["resources"]["reservations"]["devices"]
    return asked


def test_orchestrator_reads_all_gpus_and_the_model_gets_one():
    assert asked_gpus("model-orchestrator")["count"] == "all"
    assert asked_gpus("llama-cpp")["device_ids"] == ["${LLAMA_GPU:-0}"]
    assert "count" not in asked_gpus("llama-cpp")


def test_key_of_the_edge_is_where_nobody_else_looks():
    mounts = {name: " ".join(each.get("volumes", [])) for name, each in SERVICES.items()}
    assert [name for name, each in mounts.items() if "/var/lib/edge " in f"{each} "] == ["nginx"]
    assert [name for name, each in mounts.items() if "edge-tls" in each] == ["nginx"]
    assert "edge-ca:/edge-ca:ro" in SERVICES["n8n"]["volumes"]
    assert SERVICES["n8n"]["environment"]["NODE_EXTRA_CA_CERTS"] == "/edge-ca/ca.pem"
    assert SERVICES["n8n"]["depends_on"] == {"nginx": {"condition": "service_healthy"}}
    assert "HEALTHCHECK" in (ROOT / "nginx" / "Dockerfile").read_text()


def test_all_that_the_entry_point_knows_arrives_there():
    """HOST and PORT are the image's: others are told where the server listens."""
    top = ENTRYPOINT.partition("set -eu")[0]
    told = re.findall(r"^#   ([A-Z][A-Z0-9_]*(?:, [A-Z][A-Z0-9_]*)*)", top, re.MULTILINE)
    known = {name for line in told for name in line.split(", ")}
    table = ENTRYPOINT.partition("<<'SETTINGS'\n")[2].partition("\nSETTINGS")[0]
    assert {name for line in table.splitlines() for name in line.split()[2:]} <= known
    for name in ("llama-cpp", "llama-cpp-cpu"):
        passed = dict(SERVICES[name]["environment"])
        assert passed.pop("HF_HOME") == "/hf-cache"
        passed |= passed.pop("<<", {})
        assert passed.pop("MODEL_ALIAS") == f"${{MODEL_ALIAS:-{ALIASES[name]}}}"
        rest = known - {"HF_HOME", "HOST", "PORT", "MODEL_ALIAS"}
        assert passed == {each: f"${{{each}:-}}" for each in rest}


def test_settings_that_people_have_are_passed_and_nothing_else_is_said(tmp_path):
    require("compose")
    environment = tmp_path / "env"
    for said in ({}, PEOPLES):
        lines = [f"{name}={value}\n" for name, value in said.items()]
        environment.write_text("".join(["MODELS_DIR=/m\nCOMPOSE_PROFILES=gpu,cpu\n", *lines]))
        file = ("--env-file", environment, "-f", "compose.yaml", "config")
        done = subprocess.run(
            ["docker-compose", *file], cwd=ROOT, capture_output=True, text=True, check=True
        )
        services = yaml.safe_load(done.stdout)["services"]
        for name in ("llama-cpp", "llama-cpp-cpu"):
            passed = services[name]["environment"]
            assert {each: passed[each] for each in PEOPLES} == dict.fromkeys(PEOPLES, "") | said
        for name in ("model-orchestrator", "model-orchestrator-cpu"):
            passed = services[name]["environment"]
            for each in ("HF_TOKEN", "HF_ENDPOINT"):
                assert passed[each] == said.get(each, "")
    assert done.stdout.count(PEOPLES["HF_TOKEN"]) == 4, "in environments, in no command"


def test_containers_have_the_names_that_people_know():
    names = {
        name: each["container_name"] for name, each in SERVICES.items() if "container_name" in each
    }
    assert names == {
        "model-orchestrator": "model-orchestrator",
        "model-orchestrator-cpu": "model-orchestrator",
        "llama-cpp": "llama-cpp",
        "llama-cpp-cpu": "llama-cpp",
        "nginx": "nginx",
    }


def test_nothing_listens_beyond_this_machine_until_it_is_told_to():
    published = [port for each in SERVICES.values() for port in each.get("ports", ())]
    assert len(published) == 5
    assert all(port.startswith(("127.0.0.1:", "${EDGE_BIND:-127.0.0.1}:")) for port in published)


def test_a_model_answers_by_the_name_that_the_catalogue_has_for_it():
    for name, kind in (("llama-cpp", "gpu"), ("llama-cpp-cpu", "cpu")):
        file = ROOT / "deploy" / f"config-{kind}" / "orchestrator.yaml"
        config = load_config(file, environ={"MODELS_DIR": "/m"})
        (model,) = (own for own, each in config.models.items() if each.service == "llama-cpp")
        assert model == ALIASES[name]


def test_every_variable_has_a_default_or_a_remedy_and_is_in_the_example():
    files = (ROOT / "compose.yaml", ROOT / "compose.jetson.yaml")
    used = {name for file in files for name in re.findall(r"\$\{(\w+)", file.read_text())}
    example = (ROOT / ".env.example").read_text()
    told = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", example, re.MULTILINE))
    assert used - told == set()
    assert told - used == {"COMPOSE_PROFILES"}


@pytest.mark.parametrize("name", ["config-gpu", "config-cpu", "config-jetson"])
def test_configuration_of_the_stack_loads_and_knows_its_names(name):
    config = load_config(
        ROOT / "deploy" / name / "orchestrator.yaml", environ={"MODELS_DIR": "/mnt/my models"}
    )
    assert config.services["llama"].models_dir == "/mnt/my models"
    assert "orchestrator.lan" in config.server.allowed_hosts
    assert config.services["llama-cpp"].container == "llama-cpp"
    assert config.edge is not None
    assert config.edge.dir == "/run/orchestrator-edge"
    images = {each.image for each in config.services.values() if each.image}
    guard = (JETSON if name == "config-jetson" else COMPOSE)["services"]["docker-guard"]
    allowed = guard["environment"]["GUARD_IMAGES"]
    assert all(f"-{each}}}" in allowed for each in images)
    watched = SERVICES["docker-guard"]["environment"]["GUARD_CONTAINERS"]
    containers = {each.container for each in config.services.values() if each.container}
    assert all(each in watched for each in containers)


def test_a_file_named_as_it_once_was_is_said_and_not_passed_over():
    started = subprocess.run(
        ["sh", ROOT / "deploy" / "container-start.sh", "serve"],
        env={"CONFIGURATION_FILE": "./mine.yaml"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 2
    assert "ORCHESTRATOR_CONFIG_DIR=./config" in started.stderr


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
    watched = say("docker-compose", "--profile", "monitoring", *file, "--services").split()
    assert {"prometheus", "grafana"} <= {*watched}
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


def test_compose_accepts_the_jetson_file():
    """Laid over the other: no list of devices, one memory, an image built from JetPack's toolkit."""
    require("compose")
    files = ("-f", "compose.yaml", "-f", "compose.jetson.yaml")
    words = ("docker-compose", "--env-file", ".env.example", "--profile", "cpu", *files, "config")
    said = yaml.safe_load(say(*words, L4T_JETPACK="l4t:of-this-machine"))["services"]
    llama, orchestrator = said["llama-cpp-cpu"], said["model-orchestrator-cpu"]
    assert (llama["runtime"], orchestrator["runtime"]) == ("nvidia", "nvidia")
    assert "deploy" not in llama
    assert llama["image"] == "llama-service:jetson"
    assert llama["build"]["args"]["BUILD_BASE"] == "l4t:of-this-machine"
    assert str(llama["build"]["args"]["CUDA_ARCHITECTURES"]) == "87"
    assert llama["build"]["dockerfile"] == "llama_service/Dockerfile"
    assert said["docker-guard"]["environment"]["GUARD_IMAGES"] == "llama-service:jetson"
    mounts = [str(mount) for mount in orchestrator["volumes"] if "/etc/orchestrator" in str(mount)]
    assert len(mounts) == 1
    assert "config-jetson" in mounts[0]
    assert "MODEL_ALIAS" in llama["environment"], "the rest is the other file's"


@pytest.mark.parametrize("name", ["config-gpu", "config-cpu", "config-jetson"])
@pytest.mark.parametrize("file", [*WORKFLOWS, SEED], ids=lambda file: file.stem)
def test_every_model_that_a_workflow_names_is_configured(file, name):
    config = load_config(ROOT / "deploy" / name / "orchestrator.yaml", environ={"MODELS_DIR": "/m"})
    services = {
        called: model.service
        for own, model in config.models.items()
        for called in (own, *model.aliases)
    }
    bodies = [each["parameters"].get("jsonBody", "") for each in nodes(file, "httpRequest")]
    for settings in nodes(file, "set"):
        said = {each["name"]: each["value"] for each in assignments(settings)}
        bodies.append(f'"model": "{said.get("model", "default")}"')
    for body in bodies:
        for called in re.findall(r'"model": "([^"]+)"', body):
            assert called in services or called.startswith("{{ $"), "what *Settings* says"
            for service in re.findall(r'"service": "([^"]+)"', body):
                assert services[called] == service


# --- the stack, brought up -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with only_stack(), running_stack(tmp_path_factory.mktemp("compose"), "cpu") as each:
        yield each


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_up_starts_no_model(stack):
    """Neither the first time nor after an eviction: VRAM is the orchestrator's to grant."""
    assert stack.state("llama-cpp") == "created"
    stack.compose("up", "-d", "--no-build")
    assert stack.state("llama-cpp") == "created"
    stack.orchestrator("POST", "/models/load", {"model": "smollm2"})
    before = stack.inspect("llama-cpp")["State"]["Pid"]
    stack.compose("up", "-d", "--no-build")
    assert stack.inspect("llama-cpp")["State"]["Pid"] == before, "and it stops none"
    stack.orchestrator("POST", "/models/unload", {"model": "smollm2"})
    stack.compose("up", "-d", "--no-build")
    assert stack.state("llama-cpp") == "exited"
    for argv in (stack.inspect("llama-cpp")["Config"][key] for key in ("Entrypoint", "Cmd")):
        assert argv in (None, ["/opt/llama/entrypoint"])
    (command,) = re.findall(r"llama-service: (.*llama-server .*)", stack.logs("llama-cpp"))
    assert "--ctx-size 1024 " in f"{command} "


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_doctor_in_the_container_sees_what_the_daemon_sees(stack):
    done = stack.docker("exec", "model-orchestrator", "orchestrator", "doctor", "--json")
    findings = {each["what"]: each for each in json.loads(done)["findings"]}
    assert findings["configuration"]["detail"].startswith("/etc/orchestrator/orchestrator.yaml")
    engine = findings["Docker Engine"]
    assert (engine["verdict"], "/run/docker-guard/docker.sock answers" in engine["detail"]) == (
        "ok",
        True,
    )
    assert findings["state_dir"]["detail"].startswith("/var/lib/orchestrator")
    assert "it runs" in findings["port"]["detail"]


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_an_edited_configuration_is_seen_by_a_reload(stack):
    """By an editor that replaces the file, as most do: a file that is mounted would stay the old one."""
    file = stack.environment_file.parent / "config" / "orchestrator.yaml"
    before = file.read_text()
    said = yaml.safe_load(before)
    said["models"]["added"] = said["models"]["made"]
    draft = file.with_suffix(".new")
    for text in (yaml.safe_dump(said), before):
        draft.write_text(text)
        draft.rename(file)
        told = stack.docker("exec", "model-orchestrator", "orchestrator", "reload")
        assert "Changed: models.added." in told
        at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(file.stat().st_mtime))
        assert f"/etc/orchestrator/orchestrator.yaml was last changed at {at}" in told


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_containers_that_do_not_exist_are_no_warnings(stack):
    time.sleep(3)
    warned = [
        line
        for line in stack.logs(stack.container("docker-guard")).splitlines()
        if "wan2.1" in line
    ]
    assert warned == []


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_certificate_is_for_others_to_read_and_its_key_is_not(stack):
    assert stack.authority().startswith("-----BEGIN CERTIFICATE-----")
    assert stack.as_n8n("ls", "/edge-ca").split() == ["ca.pem"]
    assert stack.ask("orchestrator.lan", "GET", "/health").status_code == 200


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_own_certificate_is_used(stack, tmp_path):
    tls = tmp_path / "tls"
    make_certificate(tls)
    for each in (tls, *tls.iterdir()):
        os.chown(each, 33, 33)
    made = stack.authority()
    try:
        stack.say_in_env(EDGE_TLS=tls)
        stack.compose("up", "-d", "--no-build")
        stack.until(lambda: stack.state(stack.container("nginx")) == "healthy", "a healthy edge")
        assert stack.authority() == (tls / "ca.pem").read_text()
        assert stack.ask("orchestrator.lan", "GET", "/health").status_code == 200
    finally:
        stack.say_in_env(EDGE_TLS="")
        stack.compose("up", "-d", "--no-build")
        stack.until(lambda: stack.state(stack.container("nginx")) == "healthy", "a healthy edge")
    assert stack.authority() == made, "the other one is still there"
    assert stack.ask("orchestrator.lan", "GET", "/health").status_code == 200


def make_certificate(directory):
    """One that an authority of one's own has signed."""
    directory.mkdir()

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=directory, capture_output=True, check=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-x509", "-subj", "/CN=mine", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *curve, *authority)
    openssl("req", *curve, "-subj", "/CN=x", "-keyout", "key.pem", "-out", "request.pem")
    (directory / "names").write_text("subjectAltName=DNS:orchestrator.lan,DNS:llama.lan\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "request.pem", *signing, "-out", "cert.pem")


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_container_of_compose_is_loaded_chatted_with_and_stopped(stack, record_property):
    walk = walks.Walk("the stack on a CPU, images built", record_property, before_s=stack.up_s)
    walk.types("make up MODELS=/srv/models")  # test_up.py: what the fixture has done
    walk.types("orchestrator load smollm2")
    loaded = stack.orchestrator("POST", "/models/load", {"model": "smollm2"})
    assert (loaded["status"], loaded["endpoint"]) == ("loaded", "http://llama-cpp:8000")
    said = stack.ask("llama.lan", "POST", "/v1/chat/completions", CHAT | {"max_tokens": 24})
    walk.types("a chat")
    walk.ends()
    assert said.status_code == 200, said.text
    assert said.json()["choices"][0]["message"]["content"]
    assert said.json()["model"] == "smollm2", "as the catalogue has it"
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
    url = loaded["endpoint"] + "/v1/chat/completions"
    wish = json.dumps(CHAT | {"max_tokens": 16})
    orchestrator = stack.container("model-orchestrator-cpu")
    answer = json.loads(stack.docker("exec", orchestrator, "python3", "-c", POST, url, wish))
    assert answer["choices"][0]["message"]["content"]


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_a_closed_container_is_in_a_network_of_its_own_and_serves_all_ways(stack):
    """As all are once there are keys: its endpoint, the gateway, and nginx without the daemon."""
    loaded = stack.orchestrator("POST", "/models/load", {"model": "shut"})
    assert loaded["endpoint"] == "http://orchestrator-inside:8000/upstream/shut"
    made = stack.made("shut")
    assert len(made["NetworkSettings"]["Networks"]) == 1
    assert next(iter(made["NetworkSettings"]["Networks"])).startswith("vram-models-")
    assert made["HostConfig"]["PortBindings"] in (None, {})
    wish = json.dumps(CHAT | {"max_tokens": 4})
    orchestrator = stack.container("model-orchestrator-cpu")
    where = loaded["endpoint"] + "/v1/chat/completions"
    answer = json.loads(stack.docker("exec", orchestrator, "python3", "-c", POST, where, wish))
    assert answer["choices"][0]["message"]["content"], "a workflow that posts to the endpoint"

    def asked() -> httpx.Response:
        return stack.ask(
            "orchestrator.lan",
            "POST",
            "/v1/chat/completions",
            CHAT | {"model": "shut", "max_tokens": 4},
        )

    stack.until(lambda: asked().headers.raw[-1][0] == b"X-Model", "nginx carries it")
    stack.docker("kill", orchestrator)
    try:
        assert [asked().status_code for _ in range(2)] == [200] * 2
    finally:
        stack.docker("start", orchestrator)
    stack.until(lambda: stack.is_healthy(orchestrator), "it is back")
    stack.until(lambda: stack.loaded().get("shut") == "loaded", "adopted")
    assert asked().status_code == 200
    assert stack.made("shut")["Id"] == made["Id"]


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_resident_of_the_stack_cannot_reach_anything(stack):
    """Somebody else's program in its place: in its network, with all that it is given."""
    for name in ("shut", "made", "smollm2"):
        stack.orchestrator("POST", "/models/load", {"model": name})
    mine = next(iter(stack.made("shut")["NetworkSettings"]["Networks"]))
    joined = {
        name: stack.inspect(container)["NetworkSettings"]["Networks"]
        for name, container in (
            ("orchestrator", stack.container("model-orchestrator-cpu")),
            ("nginx", stack.container("nginx")),
            ("llama-cpp", "llama-cpp"),
            ("made", stack.made("made")["Id"]),
        )
    }
    front = {name: each.get("vram-orchestrator", {}) for name, each in joined.items()}
    beside = {name: joined[name][mine]["IPAddress"] for name in ("orchestrator", "nginx")}
    tried = [
        f"{beside['orchestrator']}:8000",
        f"{front['orchestrator']['IPAddress']}:8000",
        f"{beside['nginx']}:80",
        f"{beside['nginx']}:443",
        f"{front['nginx']['IPAddress']}:443",
        "/run/orchestrator-edge/control.sock",
        "/run/docker-guard/docker.sock",
        "/var/run/docker.sock",
        f"{front['llama-cpp']['IPAddress']}:8000",
        f"{front['made']['IPAddress']}:8080",
        f"{front['made']['Gateway']}:{stack.edge_port}",
        "169.254.169.254:80",
    ]
    shut, neighbour = (probed(stack, network, tried) for network in (mine, "vram-orchestrator"))
    assert len(re.findall("^(?:reached|refused) ", shut, re.MULTILINE)) == len(tried) == 12
    assert re.findall("^reached (.*)", shut, re.MULTILINE) == []
    assert re.findall("^capabilities (.*)", shut, re.MULTILINE) == ["0"]
    assert "writable" not in shut
    open_to_it = re.findall("^reached (.*)", neighbour, re.MULTILINE)
    assert {tried[1], tried[4], tried[8], tried[9]} <= {*open_to_it}, "this test can fail"
    for name in ("shut", "made", "smollm2"):
        stack.orchestrator("POST", "/models/unload", {"model": name})


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_one_more_closed_model_than_networks_has_an_idle_one_leave_or_nobody(stack):
    """Two networks, three models, and bytes for all: the dry run says what the load does."""

    def leaves_for(name: str) -> list[str]:
        told = stack.orchestrator("POST", "/models/plan", {"model": name})
        return [each["model"] for each in told["evict"]]

    def networks(*names: str) -> set[str]:
        return {next(iter(stack.made(name)["NetworkSettings"]["Networks"])) for name in names}

    for name in ("few-1", "few-2"):
        assert leaves_for(name) == []
        assert stack.orchestrator("POST", "/models/load", {"model": name})["evicted"] == []
    assert networks("few-1", "few-2") == {"vram-models-5", "vram-models-6"}
    assert leaves_for("few-3") == ["few-1"]
    assert stack.orchestrator("POST", "/models/load", {"model": "few-3"})["evicted"] == ["few-1"]
    assert networks("few-2", "few-3") == {"vram-models-5", "vram-models-6"}
    for name in ("few-2", "few-3"):
        stack.orchestrator("PUT", f"/models/{name}/pin")
    try:
        foreseen = stack.ask("orchestrator.lan", "POST", "/models/plan", {"model": "few-1"})
        refused = stack.ask("orchestrator.lan", "POST", "/models/load", {"model": "few-1"})
        for answer in (foreseen, refused):
            assert "each of the 2 of service few has a model in it" in answer.text, answer.text
            assert "services.few.networks" in answer.text
        assert refused.json()["code"] == "no_room"
        assert {"few-2", "few-3"} <= stack.loaded().keys()
    finally:
        for name in ("few-2", "few-3"):
            stack.orchestrator("DELETE", f"/models/{name}/pin")
            stack.orchestrator("POST", "/models/unload", {"model": name})


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_a_key_that_its_owner_gave_the_container_of_compose_is_known_to_the_stack(stack):
    """`LLAMA_API_KEY` in .env and `key_file` of the service, as the guide has it."""
    key = "a-key-of-its-owner"
    folder = stack.environment_file.parent / "config"
    file, key_file = folder / "orchestrator.yaml", folder / "llama-key"
    before = file.read_text()
    said = yaml.safe_load(before)
    said["services"]["llama-cpp"]["key_file"] = "/etc/orchestrator/llama-key"
    orchestrator = stack.container("model-orchestrator-cpu")

    def anew() -> None:
        stack.compose("up", "--no-start", "--no-build", "llama-cpp-cpu")
        stack.docker("restart", orchestrator)
        stack.until(lambda: stack.is_healthy(orchestrator), "it is back")

    def chat(name: str, **headers: str) -> httpx.Response:
        wish = CHAT | {"model": "smollm2", "max_tokens": 4}
        return stack.ask(name, "POST", "/v1/chat/completions", wish, **headers)

    stack.orchestrator("POST", "/models/unload", {"model": "smollm2"})
    try:
        key_file.write_text(f"{key}\n")
        key_file.chmod(0o644)
        file.write_text(yaml.safe_dump(said))
        stack.say_in_env(LLAMA_API_KEY=key)
        anew()
        loaded = stack.orchestrator("POST", "/models/load", {"model": "smollm2"})
        assert loaded["endpoint"] == "http://llama-cpp:8000", "where workflows call it"
        assert chat("llama.lan").status_code == 401
        assert chat("llama.lan", Authorization=f"Bearer {key}").status_code == 200
        assert chat("orchestrator.lan").status_code == 200, "the orchestrator sends it"
        stack.until(
            lambda: chat("orchestrator.lan").headers.raw[-1][0] == b"X-Model", "nginx carries it"
        )
        stack.docker("kill", orchestrator)
        try:
            assert [chat("orchestrator.lan").status_code for _ in range(3)] == [200] * 3
        finally:
            stack.docker("start", orchestrator)
        stack.until(lambda: stack.is_healthy(orchestrator), "it is back")
        stack.until(lambda: stack.loaded().get("smollm2") == "loaded", "adopted")
        assert chat("orchestrator.lan").status_code == 200
        told = stack.ask("orchestrator.lan", "GET", "/models/status").text
        told += stack.compose("logs", "model-orchestrator-cpu", "nginx", "docker-guard")
        assert key not in told
    finally:
        stack.orchestrator("POST", "/models/unload", {"model": "smollm2"})
        file.write_text(before)
        key_file.unlink()
        stack.say_in_env(LLAMA_API_KEY="")
        anew()


def probed(stack: Stack, network: str, tried: list[str]) -> str:
    """What a program finds that is run there as the orchestrator runs models."""
    image = docker_parts.prober_image(stack.engine)
    locked = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    who = ("--user", "65534:65534", "--network", network, *locked)
    name = f"vram-probed-{stack.project}"
    stack.docker(
        *("run", "-d", "--name", name, *who, "-e", f"LLAMA_PROBE={' '.join(tried)}"),
        *(image, "/usr/bin/llama-server"),
    )
    try:
        stack.until(lambda: "done" in stack.logs(name), "all is tried")
        return stack.logs(name)
    finally:
        stack.docker("rm", "-f", "-v", name)


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_what_the_orchestrator_has_downloaded_its_own_containers_read(stack):
    """From the volume, read-only; the file lies there as a pull leaves it."""
    orchestrator = stack.container("model-orchestrator-cpu")
    shelf = f"/hf-cache/hub/models--{HUB_REPO.replace('/', '--')}"
    commit = "c0ffee" + "0" * 34
    pulled = (
        f"mkdir -p {shelf}/refs {shelf}/blobs {shelf}/snapshots/{commit} "
        f'&& printf {commit} > {shelf}/refs/main && cp "$MODELS_DIR/{MODEL_FILE}" {shelf}/blobs/b '
        f"&& ln -s ../../blobs/b {shelf}/snapshots/{commit}/{MODEL_FILE}"
    )
    stack.docker("exec", orchestrator, "sh", "-c", pulled)
    loaded = stack.orchestrator("POST", "/models/load", {"model": "far"})
    assert loaded["status"] == "loaded"
    labels = (
        f"label=vram-orchestrator.identity={stack.project}",
        "label=vram-orchestrator.model=far",
    )
    (made,) = stack.docker("ps", "-q", "--filter", labels[0], "--filter", labels[1]).split()
    mounts = {each["Destination"]: each for each in stack.inspect(made)["Mounts"]}
    assert (mounts["/hf-cache"]["Type"], mounts["/hf-cache"]["RW"]) == ("volume", False)
    stack.orchestrator("POST", "/models/unload", {"model": "far"})


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
@pytest.mark.parametrize("ending", [("kill", "--signal", "KILL"), ("stop",)], ids=["kill", "stop"])
def test_a_ready_model_answers_while_the_orchestrator_is_away(stack, ending):
    """nginx carries it, by the same Lua as `orchestrator edge`; what it carried is told afterwards."""
    stack.orchestrator("POST", "/models/load", {"model": "smollm2"})
    stack.orchestrator("POST", "/models/unload", {"model": "made"})

    def asked() -> httpx.Response:
        wish = CHAT | {"model": "default", "user": ending[0]}
        return stack.ask("orchestrator.lan", "POST", "/v1/chat/completions", wish)

    stack.until(lambda: asked().headers.raw[-1][0] == b"X-Model", "nginx carries it")
    orchestrator = stack.container("model-orchestrator-cpu")
    stack.docker(*ending, orchestrator)
    try:
        away = datetime.now(UTC)
        answers = [asked() for _ in range(2)]
        stack.docker("restart", "nginx")  # it has its routes from the volume that both share
        stack.until(lambda: stack.is_healthy("nginx"), "nginx is back")
        answers.append(asked())
        cold = stack.ask(
            "orchestrator.lan", "POST", "/v1/chat/completions", CHAT | {"model": "made"}
        )
        back = datetime.now(UTC)
    finally:
        stack.docker("start", orchestrator)
    said = [answer.text for answer in answers]
    assert [answer.status_code for answer in answers] == [200] * 3, said
    assert answers[-1].json()["choices"][0]["message"]["content"]
    assert cold.status_code == httpx.codes.SERVICE_UNAVAILABLE, "what is not loaded waits for it"

    def told() -> bool:
        answer = stack.ask("orchestrator.lan", "GET", "/requests?model=smollm2")
        if answer.status_code != httpx.codes.OK:
            return False
        began = [datetime.fromisoformat(one["began_at"]) for one in answer.json()["ended"]]
        return len([each for each in began if away < each < back]) == len(answers)

    stack.until(told, "what was carried is among the requests")


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_commands_of_the_docker_guide(stack, tmp_path):
    """As a reader types them, the last of them `down`: nothing of the stack is used after this.

    The reader's .env is the stack's own, and images are not built again.
    """
    (tmp_path / ".env.example").write_text((ROOT / ".env.example").read_text())
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    compose = shlex.join(["docker-compose", *stack.compose_words()])
    engine = shlex.join([which("docker") or "docker", "-H", stack.engine])
    docker.write_text(
        f"""#!/bin/sh
        [ "$1" != compose ] || {{ shift; cd {shlex.quote(str(ROOT))}; exec {compose} "$@"; }}
        exec {engine} "$@"
        """
    )
    docker.chmod(0o755)
    path = f"{docker.parent}:{os.environ['PATH']}"  # noqa: TID251 - as from a shell
    here = "tests/contracts/test_compose.py::test_commands_of_the_docker_guide"
    guide = [each for each in blocks(DOCS / "guides" / "docker.md") if each.argument == here]
    assert len(guide) == 5
    for block in guide:
        typed = block.text.replace("--no-start llama-cpp", "--no-start --no-build llama-cpp-cpu")
        typed = typed.replace("up -d", "up -d --no-build")
        typed = typed.replace("identity=vram-orchestrator", f"identity={stack.project}")
        say("bash", "-euo", "pipefail", "-c", typed, cwd=tmp_path, PATH=path)
        if "exec" in typed:
            assert (tmp_path / "orchestrator-ca.pem").read_text() == stack.authority()
    assert (tmp_path / ".env").exists()
    assert stack.containers() == []
    label = f"label=vram-orchestrator.identity={stack.project}"
    assert stack.docker("ps", "--all", "-q", "--filter", label) == ""
    assert stack.docker("ps", "--all", "-q", "--filter", "name=^llama-cpp$") == ""


@pytest.mark.docker
@pytest.mark.llama_cpp
@pytest.mark.compiler
def test_gpus_are_requested_and_read_by_uuid(stack, tmp_path):
    stack.take_away()  # both profiles have a container called llama-cpp
    with running_stack(tmp_path, "gpu") as gpus:
        (asked,) = gpus.inspect("llama-cpp")["HostConfig"]["DeviceRequests"]
        assert (asked["Driver"], asked["DeviceIDs"]) == ("nvidia", ["GPU-aaaa"])
        assert asked["Capabilities"] == [["gpu"]]
        (reads,) = gpus.inspect(gpus.container("model-orchestrator"))["HostConfig"][
            "DeviceRequests"
        ]
        assert (reads["Driver"], reads["Count"]) == ("nvidia", -1)
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
        assert request["DeviceIDs"] == [each["device"] for each in made["devices"][:1]]
        assert [each["device"] for each in made["devices"][1:]] == ["host"], "what stays beside it"
        environment = gpus.docker("exec", container, "busybox", "env").splitlines()
        assert f"CUDA_VISIBLE_DEVICES={request['DeviceIDs'][0]}" in environment
