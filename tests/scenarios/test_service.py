"""The service, installed, used and removed on a machine that a real systemd runs."""

import json
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests import parts
from tests.documents import DOCS, blocks
from tests.scenarios.systemd_machine import PROGRAM, SystemdMachine, systemd_machine

pytestmark = pytest.mark.systemd
PORT = 18999
EDGE_PORT, EDGE = 18998, "vram-orchestrator-edge"
URL = f"http://127.0.0.1:{PORT}"
OWN_PORT = 18998  # of a user's own
OWN_URL = f"http://127.0.0.1:{OWN_PORT}"
SECURITY_MAX = 3.0  # of `systemd-analyze security`; what is bare has 9.6
CONFIG = {
    "state_dir": "/var/lib/vram-orchestrator",
    "devices": {"source": "fake", "fake": [{"name": "Pretended", "total_mb": 8192}]},
    "services": {"trial": {"engine": "fake", "runtime": "process"}},
    "models": {"chat": {"service": "trial", "vram_mb": 4096}},
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SystemdMachine]:
    scratch = tmp_path_factory.mktemp("systemd")
    with systemd_machine(scratch) as booted:
        booted.install(scratch)
        settings = booted.root / "etc" / "vram-orchestrator"
        settings.mkdir()
        (settings / "orchestrator.yaml").write_text(yaml.safe_dump(CONFIG))
        yield booted


def orchestrator(machine: SystemdMachine, *words: object) -> str:
    return machine.say("env", f"ORCHESTRATOR_URL={URL}", PROGRAM, *words)


def test_what_its_user_cannot_run_is_not_installed(machine):
    (machine.root / "srv" / "mine.yaml").write_text(yaml.safe_dump(CONFIG))
    (machine.root / "srv" / "mine.yaml").chmod(0o600)
    done = machine.run(PROGRAM, "service", "install", "--config", "/srv/mine.yaml")
    assert done.returncode == 1
    assert "vram-orchestrator cannot run it: /srv/mine.yaml" in done.stderr
    assert "--as USER" in done.stderr
    (machine.root / "srv" / "models").mkdir(mode=0o700)
    done = machine.run(PROGRAM, "service", "install", "/srv/models")
    assert done.returncode == 1
    assert "vram-orchestrator may not read /srv/models" in done.stderr
    assert machine.run(PROGRAM, "service", "status").returncode == 1
    assert machine.say(PROGRAM, "service", "remove") == (
        "vram-orchestrator.service is not installed.\n"
    )


def test_it_is_installed_by_one_line_and_models_survive_a_restart(machine):
    said = machine.say(PROGRAM, "service", "install", "--port", PORT)
    assert f"serves at {URL} as vram-orchestrator" in said
    assert f"export ORCHESTRATOR_URL={URL}" in said
    assert machine.show("StatusText") == f"listening on {URL}"
    assert machine.show("UnitFileState") == "enabled"
    orchestrator(machine, "load", "chat")
    daemon = machine.show("MainPID")
    machine.say("systemctl", "restart", "vram-orchestrator")
    assert machine.show("MainPID") != daemon
    (loaded,) = json.loads(orchestrator(machine, "status", "--json"))["loaded_models"].values()
    assert loaded["status"] == "loaded"
    assert "is ready after" not in orchestrator(machine, "events", "--lines", 1), "taken over"
    orchestrator(machine, "unload", "chat")


def test_it_runs_as_nobody_in_particular_and_can_write_its_state_alone(machine):
    status = (machine.root / "proc" / machine.show("MainPID") / "status").read_text()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert lines["Uid"].split() == [lines["Uid"].split()[0]] * 4
    assert lines["Uid"].split()[0] != "0"
    assert (lines["NoNewPrivs"], lines["CapBnd"]) == ("1", "0" * 16)
    assert lines["Seccomp"] == "2"
    state = machine.root / "var" / "lib" / "vram-orchestrator"
    assert state.stat().st_mode & 0o777 == 0o700


def test_reload_is_told_to_systemd_and_so_is_a_mistake(machine):
    file = machine.root / "etc" / "vram-orchestrator" / "orchestrator.yaml"
    again = CONFIG | {"models": CONFIG["models"] | {"more": {"service": "trial", "vram_mb": 1024}}}
    file.write_text(yaml.safe_dump(again))
    daemon = machine.show("MainPID")
    machine.say("systemctl", "reload", "vram-orchestrator")
    said = machine.say("sh", "-c", f"until {PROGRAM} models --url {URL} | grep more; do :; done")
    assert "more" in said
    file.write_text("nonsense: 1\n")
    machine.say("systemctl", "reload", "vram-orchestrator")
    shown = "systemctl show vram-orchestrator -P StatusText"
    machine.say("sh", "-c", f"until {shown} | grep 'not reloaded'; do :; done")
    status = machine.say(PROGRAM, "service", "status")
    assert "is active (running)" in status
    assert "nonsense" in status
    file.write_text(yaml.safe_dump(CONFIG))
    assert machine.show("MainPID") == daemon


def test_killed_it_comes_back_and_finds_its_model(machine):
    orchestrator(machine, "load", "chat")
    daemon = machine.show("MainPID")
    machine.say("kill", "-9", daemon)
    back = f"until {PROGRAM} status --url {URL} | grep loaded; do sleep 0.2; done"
    assert "chat" in machine.say("sh", "-c", f"{back} 2>/dev/null")
    assert machine.show("MainPID") != daemon
    assert "started again 1 times" in machine.say(PROGRAM, "service", "status")


def test_an_edge_is_installed_along_survives_its_parent_and_goes_with_its_section(machine):
    parts.require("nginx")
    file = machine.root / "etc" / "vram-orchestrator" / "orchestrator.yaml"
    file.write_text(yaml.safe_dump(CONFIG | {"edge": {"port": EDGE_PORT, "workers": 1}}))
    said = machine.say(PROGRAM, "service", "install", "--port", PORT)
    assert f"runs nginx in front of it: http://127.0.0.1:{EDGE_PORT}" in said
    answers = f"until curl -sf http://127.0.0.1:{EDGE_PORT}/health; do sleep 0.2; done"
    machine.say("sh", "-c", answers)
    parent = machine.show("MainPID", of=EDGE)
    machine.say("kill", "-9", parent)
    another = f"[ $(systemctl show {EDGE} -P MainPID) != {parent} ]"
    back = f"until {another} && systemctl is-active --quiet {EDGE}; do sleep 0.2; done"
    machine.say("sh", "-c", back)
    machine.say("sh", "-c", answers)
    assert machine.show("MainPID", of=EDGE) != parent
    assert f"{EDGE} is active (running)" in machine.say(PROGRAM, "service", "status")
    machine.say("systemctl", "stop", EDGE)
    done = machine.run(PROGRAM, "service", "status")
    assert (done.returncode, f"systemctl restart {EDGE}" in done.stderr) == (1, True)
    assert machine.run("pgrep", "-u", "vram-orchestrator", "nginx").stdout == ""
    file.write_text(yaml.safe_dump(CONFIG))
    assert f"{EDGE} is removed" in machine.say(PROGRAM, "service", "install", "--port", PORT)
    assert EDGE not in machine.say(PROGRAM, "service", "status")


def test_removed_it_leaves_no_process_behind(machine):
    file = machine.root / "etc" / "vram-orchestrator" / "orchestrator.yaml"
    file.write_text(yaml.safe_dump(CONFIG | {"edge": {"port": EDGE_PORT, "workers": 1}}))
    machine.say(PROGRAM, "service", "install", "--port", PORT)
    file.write_text(yaml.safe_dump(CONFIG))
    said = machine.say(PROGRAM, "service", "remove")
    assert "its models have ended" in said
    assert f"{EDGE} is removed" in said
    assert machine.run("pgrep", "-u", "vram-orchestrator").stdout == ""
    status = machine.run(PROGRAM, "service", "status")
    assert status.returncode == 1
    assert "is not installed" in status.stderr


def test_commands_of_the_guide(machine):
    """As a reader types them; root needs no sudo. The configuration is at the usual place."""
    here = "tests/scenarios/test_service.py::test_commands_of_the_guide"
    guide = [each for each in blocks(DOCS / "guides" / "service.md") if each.argument == here]
    assert len(guide) == 3
    sudo = 'sudo() { "$@"; }\n'
    for block in guide:
        said = machine.say("bash", "-euo", "pipefail", "-c", sudo + block.text)
    assert "is removed" in said


# --- of a user alone -------------------------------------------------------------------------


class Session:
    """A user's own systemd."""

    def __init__(self, machine: SystemdMachine, name: str) -> None:
        self._machine = machine
        machine.say("useradd", "--create-home", name)
        self.home = machine.root / "home" / name
        uid = machine.say("id", "-u", name).strip()
        machine.say("systemctl", "start", f"user@{uid}.service")
        own = (
            f"HOME=/home/{name}",
            f"XDG_RUNTIME_DIR=/run/user/{uid}",
            f"ORCHESTRATOR_URL={OWN_URL}",
        )
        self._entered = ("runuser", "-u", name, "--", "env", "-C", f"/home/{name}", *own)

    def say(self, *words: object) -> str:
        return self._machine.say(*self._entered, *words)

    def run(self, *words: object) -> "subprocess.CompletedProcess[str]":
        return self._machine.run(*self._entered, *words)


def test_a_user_installs_one_of_his_own(machine):
    """In a session of his, without root: it survives a restart with its model, and is removed."""
    session = Session(machine, "somebody")
    settings = session.home / ".config" / "vram-orchestrator"
    session.say("mkdir", "-p", ".config/vram-orchestrator")
    own = CONFIG | {"state_dir": "/home/somebody/.local/state/vram-orchestrator"}
    (settings / "orchestrator.yaml").write_text(yaml.safe_dump(own))
    said = session.say(PROGRAM, "service", "install", "--port", OWN_PORT)
    assert f"serves at {OWN_URL}, from now on" in said
    assert "systemctl --user restart vram-orchestrator" in said
    assert (settings.parent / "systemd" / "user" / "vram-orchestrator.service").exists()
    session.say(PROGRAM, "load", "chat")
    session.say("systemctl", "--user", "restart", "vram-orchestrator")
    assert "is active (running)" in session.say(PROGRAM, "service", "status")
    (loaded,) = json.loads(session.say(PROGRAM, "status", "--json"))["loaded_models"].values()
    assert loaded["status"] == "loaded"
    said = session.say(PROGRAM, "service", "remove")
    assert "its models have ended" in said
    assert "/home/somebody/.config/vram-orchestrator" in said
    assert machine.run("pgrep", "-u", "somebody", "-f", "orchestrator").stdout == ""
    assert session.run(PROGRAM, "service", "status").returncode == 1


# --- what systemd says of the unit -----------------------------------------------------------


def test_systemd_understands_the_unit_and_finds_little_exposed(machine):
    (machine.root / "srv" / "with-edge.yaml").write_text(yaml.safe_dump(CONFIG | {"edge": {}}))
    shown = machine.say(PROGRAM, "service", "install", "--config", "/srv/with-edge.yaml", "--print")
    texts = shown.split(f"# --- {EDGE}.service\n")
    for name, text in zip(("vram-orchestrator", EDGE), texts, strict=True):
        file = f"/srv/{name}.service"
        (machine.root / "srv" / f"{name}.service").write_text(text)
        done = machine.run("systemd-analyze", "verify", file)
        assert (done.returncode, done.stderr) == (0, "")
        exposed = machine.say("systemd-analyze", "security", "--offline=yes", file)
        (level,) = (line for line in exposed.splitlines() if "Overall exposure level" in line)
        assert float(level.split(":")[1].split()[0]) <= SECURITY_MAX
