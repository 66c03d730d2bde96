import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from orchestrator.cli.main import main, parser
from orchestrator.cli.service import systemctl
from orchestrator.cli.service.command import program, serve_words


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def options_of(*words: str) -> set[str]:
    """What a word takes besides help."""
    found = parser()
    for word in words:
        (words_of,) = (a for a in found._actions if isinstance(a, argparse._SubParsersAction))
        found = words_of.choices[word]
    return {action.dest for action in found._actions} - {"help"}


def test_all_that_serve_takes_is_passed_on(tmp_path):
    """An option that is added to `serve` is missing here until the service passes it on."""
    given = {
        "config": Path("mine.yaml"),
        "host": "0.0.0.0",
        "port": 0,
        "health_port": 8001,
        "folders": [Path("models")],
        "models_dir": [Path("/more")],
        "verbose": True,
    }
    assert options_of("serve") == given.keys()
    assert options_of("service", "install") >= given.keys()
    words = list(serve_words(argparse.Namespace(**given), tmp_path / "mine.yaml"))
    parsed = parser().parse_args(words)
    assert {name: getattr(parsed, name) for name in given} == given | {
        "config": tmp_path / "mine.yaml",
        "folders": [Path("models").absolute(), Path("/more")],
        "models_dir": [],
    }


def test_a_folder_that_is_not_there_is_said_before_anything_is_done(home, capsys):
    assert main(["service", "install", "--user", "models", "--print"]) == 1
    assert f"There is no folder {home}/models." in capsys.readouterr().err


def test_the_unit_is_shown_and_nothing_is_done(home, capsys):
    (home / "mine.yaml").write_text("services: {}\n")
    assert main(["service", "install", "--user", "--config", "mine.yaml", "--print"]) == 0
    said = capsys.readouterr().out
    assert f"ExecStart={program()[0]} serve --config {home}/mine.yaml\n" in said
    assert f"WorkingDirectory={home}/state/vram-orchestrator\n" in said
    assert [path.name for path in home.iterdir()] == ["mine.yaml"]


def test_a_configuration_at_the_usual_place_is_taken(home, capsys):
    usual = home / "config" / "vram-orchestrator" / "orchestrator.yaml"
    usual.parent.mkdir(parents=True)
    usual.write_text("services: {}\n")
    assert main(["service", "install", "--user", "--print"]) == 0
    assert f"serve --config {usual}\n" in capsys.readouterr().out


def test_state_and_models_elsewhere_stay_reachable(home, capsys):
    (home / "mine.yaml").write_text(
        "state_dir: /srv/state\n"
        "services: {a: {engine: llama_cpp, runtime: process, models_dir: /tmp/models}}\n"
    )
    assert main(["service", "install", "--system", "--config", "mine.yaml", "--print"]) == 0
    said = capsys.readouterr().out
    assert "ReadWritePaths=/srv/state\n" in said
    assert "PrivateTmp=no\n" in said


def test_a_configuration_with_an_edge_has_a_unit_for_it(home, capsys):
    (home / "mine.yaml").write_text("edge: {port: 81, dir: /srv/edge}\n")
    words = ["service", "install", "--system", "--config", "mine.yaml", "--print"]
    assert main(words) == 0
    daemon, edge = capsys.readouterr().out.split("# --- vram-orchestrator-edge.service\n")
    assert f"ExecStart={program()[0]} edge --config {home}/mine.yaml\n" in edge
    for said in (daemon, edge):
        assert "ReadWritePaths=/srv/edge\n" in said
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in edge


def test_mistakes_of_the_configuration_are_named(home, capsys):
    (home / "mine.yaml").write_text("nonsense: 1\n")
    assert main(["service", "install", "--config", "mine.yaml"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_an_edge_without_nginx_is_said_before_anything_is_done(home, capsys, monkeypatch):
    (home / "mine.yaml").write_text("edge: {}\n")
    monkeypatch.setattr(systemctl, "RUNNING", home)
    monkeypatch.setattr("orchestrator.gateway.edge.child.MODULES", ())
    assert main(["service", "install", "--user", "--config", "mine.yaml"]) == 1
    said = capsys.readouterr().err
    assert "The configuration has `edge`, and " in said
    assert "apt-get install nginx-light" in said
    assert [path.name for path in home.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("kind", ["install", "status", "remove"])
def test_without_systemd_the_way_out_is_named(kind, home, capsys, monkeypatch):
    monkeypatch.setattr(systemctl, "RUNNING", home / "none")
    assert main(["service", kind, "--user"]) == 1
    said = capsys.readouterr().err
    assert "systemd does not run this machine" in said
    assert "--print" in said
    assert not list(home.iterdir())


# --- remove ----------------------------------------------------------------------------------


class Loaded(BaseHTTPRequestHandler):
    """A daemon with two models, one of which does not go."""

    asked: ClassVar[list[object]] = []

    def do_GET(self):
        self._answer(200, {"loaded_models": {"chat": {}, "stays": {}}})

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(order)
        goes = order["model"] == "chat"
        self._answer(200 if goes else 409, {} if goes else {"detail": "stays is stuck."})

    def _answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def installed(home, monkeypatch):
    """As systemd says, of a daemon that runs; what is ordered of it stands in a file."""
    unit = home / "config" / "systemd" / "user" / "vram-orchestrator.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Unit]\n")
    (home / "state" / "vram-orchestrator").mkdir(parents=True)
    (home / "state" / "vram-orchestrator" / "identity").write_text("f00\n")
    program = home / "bin" / "systemctl"
    program.parent.mkdir()
    monkeypatch.setattr(systemctl, "RUNNING", home)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with ThreadingHTTPServer(("127.0.0.1", 0), Loaded) as server:
        said = f"StatusText=listening on http://127.0.0.1:{server.server_port}"
        program.write_text(
            f'#!/bin/sh\necho "$@" >>{home}/ordered\n[ "$2" != show ] || echo "{said}"\n'
        )
        program.chmod(0o755)
        Thread(target=server.serve_forever, daemon=True).start()
        Loaded.asked.clear()
        yield home
        server.shutdown()


def test_removed_its_daemon_unloads_first_what_may_be_in_containers(installed, capsys):
    assert main(["service", "remove", "--user"]) == 0
    assert Loaded.asked == [
        {"model": "chat", "force": True},
        {"model": "stays", "force": True},
    ]
    said = capsys.readouterr()
    assert "its models have ended" in said.out
    assert "stays was not unloaded: stays is stuck." in said.err
    assert "docker ps --all --quiet --filter label=vram-orchestrator.identity=f00 |" in said.err
    ordered = (installed / "ordered").read_text().splitlines()
    assert [line.split()[1] for line in ordered] == [
        *("show", "disable", "stop", "kill", "daemon-reload")
    ]


def test_removed_with_its_models_kept_it_says_how_their_containers_end(installed, capsys):
    assert main(["service", "remove", "--user", "--keep-models"]) == 0
    assert Loaded.asked == []
    said = capsys.readouterr()
    assert "its models run on" in said.out
    assert "xargs --no-run-if-empty docker rm --force" in said.err
