import configparser
import shlex
from pathlib import Path

import pytest

from orchestrator.cli.main import FOR_DAEMON, WITHOUT_DAEMON
from orchestrator.cli.service.unit import Scope, Unit, folder_of, hidden, quoted

ROOT = Path(__file__).parents[4]
FILE = ROOT / "deploy" / "systemd" / "vram-orchestrator.service"
USUAL = Unit(
    scope=Scope.SYSTEM,
    command=[
        "/opt/vram-orchestrator/bin/orchestrator",
        *("serve", "--config", "/etc/vram-orchestrator/orchestrator.yaml"),
    ],
    home=Path("/var/lib/vram-orchestrator"),
)


def parsed(unit: Unit) -> configparser.ConfigParser:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read_string(unit.text())
    return read


def test_the_unit_in_deploy_is_the_one_that_is_installed():
    FILE.parent.mkdir(exist_ok=True)
    expected = USUAL.text()
    assert FILE.read_text() == expected, f"write this into {FILE}:\n{expected}"


def test_it_starts_what_exists_and_ends_no_model():
    service = parsed(USUAL)["Service"]
    program, word, *_ = shlex.split(service["ExecStart"])
    assert Path(program).name == "orchestrator"
    assert word in {each.name for each in (*WITHOUT_DAEMON, *FOR_DAEMON)}
    assert (service["KillMode"], service["OOMPolicy"]) == ("process", "continue")
    assert (service["Type"], service["ProtectSystem"]) == ("notify", "strict")
    assert "-HUP" in service["ExecReload"]


def test_a_users_own_asks_for_nothing_that_only_the_system_can_give():
    read = parsed(Unit(scope=Scope.USER, command=["o", "serve"], home=Path("/home/a/state")))
    for key in ("User", "StateDirectory", "CapabilityBoundingSet", "ProtectSystem", "PrivateTmp"):
        assert key not in read["Service"]
    assert read["Service"]["NoNewPrivileges"] == "yes"
    assert read["Install"]["WantedBy"] == "default.target"


def test_what_the_configuration_needs_is_let_through():
    unit = Unit(
        scope=Scope.SYSTEM,
        command=["/my programs/o", "serve", "--host", "50%"],
        home=Path("/var/lib/x"),
        user="alice",
        groups=["docker"],
        writes=[Path("/srv/state of it")],
        private_tmp=False,
    )
    service = parsed(unit)["Service"]
    assert service["ExecStart"] == '"/my programs/o" serve --host 50%%'
    assert (service["User"], service["SupplementaryGroups"]) == ("alice", "docker")
    assert (service["ReadWritePaths"], service["PrivateTmp"]) == ('"/srv/state of it"', "no")


@pytest.mark.parametrize(
    ("word", "said"),
    [("plain", "plain"), ("", '""'), ('a"b c', '"a\\"b c"'), ("$HOME", "$$HOME")],
)
def test_words_are_quoted_as_systemd_reads_them(word, said):
    assert quoted(word) == said


def test_models_in_temporary_folders_are_known():
    paths = [Path("/tmp/a"), Path("/var/tmp/b"), Path("/srv/tmp/c"), Path("/tmpx")]
    assert hidden(paths) == paths[:2]


def test_units_lie_where_systemd_looks_for_them():
    assert folder_of(Scope.SYSTEM, Path("/any")) == Path("/etc/systemd/system")
    assert folder_of(Scope.USER, Path("/home/a/.config")) == Path("/home/a/.config/systemd/user")
