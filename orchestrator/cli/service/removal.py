"""Takes a service away: its units, and the models that the daemon runs."""

from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress

from orchestrator.cli.client import NotReached, RefusedByDaemon, Remote
from orchestrator.cli.commands import DONE
from orchestrator.cli.screen import complain, say
from orchestrator.cli.service.edge_unit import EDGE_NAME, EDGE_UNIT
from orchestrator.cli.service.layout import Layout, address
from orchestrator.cli.service.systemctl import Systemd, SystemdRefused
from orchestrator.cli.service.unit import NAME, UNIT, USER, Scope

UNLOAD_S = 90.0  # for one model: a stop has its grace, and a device its time to give bytes back


def remove(layout: Layout, systemd: Systemd, words: Namespace) -> int:
    """Raise SystemdRefused or PermissionError."""
    if not layout.unit.exists():
        say(f"{UNIT} is not installed.")
        return DONE
    left = [] if words.keep_models else _unload_all(systemd)
    remove_edge(layout, systemd)
    systemd.order("disable", UNIT)
    systemd.order("stop", UNIT)
    if not words.keep_models:
        with suppress(SystemdRefused):  # there were none
            systemd.order("kill", "--kill-whom=all", UNIT)
    layout.unit.unlink()
    systemd.order("daemon-reload")
    kept: Sequence[str] = [str(layout.state), str(layout.settings)]
    if layout.scope is Scope.SYSTEM:
        kept = [*kept, f"the user {USER}"]
    say(f"{NAME} is removed; its models {'run on' if words.keep_models else 'have ended'}.")
    if words.keep_models or left:
        complain(*left, f"Containers of it that still run end by:  {_end_containers(layout)}")
    say(f"Kept: {', '.join(kept)}.")
    return DONE


def remove_edge(layout: Layout, systemd: Systemd) -> None:
    """If it is there. Raise SystemdRefused or PermissionError."""
    if not layout.edge_unit.exists():
        return
    systemd.order("disable", EDGE_UNIT)
    systemd.order("stop", EDGE_UNIT)
    with suppress(SystemdRefused):  # nothing was left
        systemd.order("kill", "--kill-whom=all", EDGE_UNIT)
    layout.edge_unit.unlink()
    systemd.order("daemon-reload")
    say(f"{EDGE_NAME} is removed.")


def _end_containers(layout: Layout) -> str:
    """What a person types. Of this orchestrator alone: there may be others on the same Docker."""
    try:
        identity = (layout.state / "identity").read_text().strip()
    except OSError:
        identity = "$(cat STATE_DIR/identity)"
    which = f"--filter label=vram-orchestrator.identity={identity}"
    return f"docker ps --all --quiet {which} | xargs --no-run-if-empty docker rm --force"


def _unload_all(systemd: Systemd) -> list[str]:
    """Have the daemon end its models while it can: systemd sees processes, and no containers.

    Say what still runs. Raise SystemdRefused.
    """
    url = address(systemd.shown())
    if url is None:
        return ["It does not run, so nobody has been asked whether containers of it do."]
    left: list[str] = []
    remote = Remote(url)
    try:
        loaded = remote.ask("GET", "/models/status").body["loaded_models"]
        for name in loaded if isinstance(loaded, dict) else ():
            try:
                body = {"model": name, "force": True}
                remote.ask("POST", "/models/unload", body, timeout_s=UNLOAD_S)
            except RefusedByDaemon as error:
                left.append(f"{name} was not unloaded: {error}")
    except (RefusedByDaemon, NotReached) as error:
        left.append(f"Its models were not unloaded: {error}")
    return left
