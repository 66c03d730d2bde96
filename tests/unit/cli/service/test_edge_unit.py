import configparser
import shlex
from pathlib import Path

import pytest

from orchestrator.cli.main import WITHOUT_DAEMON
from orchestrator.cli.service.edge_unit import EdgeUnit
from orchestrator.cli.service.unit import Scope

ROOT = Path(__file__).parents[4]
FILE = ROOT / "deploy" / "systemd" / "vram-orchestrator-edge.service"
COMMAND = (
    "/opt/vram-orchestrator/bin/orchestrator",
    *("edge", "--config", "/etc/vram-orchestrator/orchestrator.yaml"),
)


def unit(scope: Scope = Scope.SYSTEM, port: int = 8080, writes: tuple[Path, ...] = ()) -> EdgeUnit:
    home = Path("/var/lib/vram-orchestrator")
    return EdgeUnit(scope=scope, command=COMMAND, home=home, port=port, writes=writes)


def service(of: EdgeUnit) -> configparser.SectionProxy:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read_string(of.text())
    return read["Service"]


def test_the_unit_in_deploy_is_the_one_that_is_installed():
    expected = unit().text()
    assert FILE.read_text() == expected, f"write this into {FILE}:\n{expected}"


def test_it_starts_what_exists_and_ends_no_answer():
    said = service(unit())
    program, word, *_ = shlex.split(said["ExecStart"])
    assert (Path(program).name, word) == ("orchestrator", "edge")
    assert word in {each.name for each in WITHOUT_DAEMON}
    assert (said["KillMode"], said["User"]) == ("process", "vram-orchestrator")


@pytest.mark.parametrize(("port", "right"), [(80, "CAP_NET_BIND_SERVICE"), (8080, "")])
def test_a_port_of_roots_needs_a_right_of_its_own(port, right):
    said = service(unit(port=port))
    assert (said["CapabilityBoundingSet"], said.get("AmbientCapabilities", "")) == (right, right)


def test_what_lies_elsewhere_may_be_written():
    assert service(unit(writes=(Path("/srv/x"),)))["ReadWritePaths"] == "/srv/x"


def test_a_users_own_asks_for_nothing_that_only_the_system_can_give():
    said = service(unit(Scope.USER))
    for key in ("User", "StateDirectory", "CapabilityBoundingSet", "ProtectSystem", "PrivateTmp"):
        assert key not in said
