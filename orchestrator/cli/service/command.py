"""`orchestrator service`: installs the daemon as a service of systemd, looks at it, removes it."""

import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.catalogue.predictions import Predictions
from orchestrator.cli.client import URL_DEFAULT
from orchestrator.cli.commands import DONE, FAILED
from orchestrator.cli.screen import complain, say, say_exactly
from orchestrator.cli.service import systemctl
from orchestrator.cli.service.account import (
    NotPrepared,
    ServiceAccount,
    account,
    groups_for,
    problems,
    require_readable,
)
from orchestrator.cli.service.edge_unit import EDGE_NAME, EDGE_UNIT, EdgeUnit
from orchestrator.cli.service.layout import Layout, address, layout_of, typed
from orchestrator.cli.service.removal import remove, remove_edge
from orchestrator.cli.service.systemctl import Systemd, SystemdRefused
from orchestrator.cli.service.unit import (
    CACHE,
    CONFIG_FILE,
    NAME,
    STATE,
    UNIT,
    USER,
    Scope,
    Unit,
    hidden,
)
from orchestrator.config.embedded import embedded
from orchestrator.config.loading import Config, Overrides, load_config
from orchestrator.config.sections import RuntimeName
from orchestrator.errors import ConfigInvalid
from orchestrator.gateway.edge.child import INSTALL, NotInstalled, installed
from orchestrator.gguf.headers import Headers

MISUSED = 2
WAITED_FOR_BY_NOBODY = "port"  # a finding that is none: the service that runs already has it


def service(words: Namespace) -> int:
    layout = layout_of(words)
    try:
        if words.kind == "install":
            return _install(layout, words)
        _require_systemd()
        systemd = Systemd(layout.scope)
        return _status(systemd) if words.kind == "status" else remove(layout, systemd, words)
    except NotPrepared as error:
        complain(str(error), error.remedy)
    except ConfigInvalid as error:
        complain(*error.mistakes)
        return MISUSED
    except SystemdRefused as error:
        complain(str(error))
    except PermissionError as error:
        complain(
            f"{error.filename}: {error.strerror}.", "The system's service is root's: use sudo."
        )
    return FAILED


def _require_systemd() -> None:
    """Raise NotPrepared."""
    if not systemctl.RUNNING.is_dir():
        raise NotPrepared(
            "systemd does not run this machine.",
            "`orchestrator service install --print` shows the unit, for another layout.",
        )


# --- install ---------------------------------------------------------------------------------


def _install(layout: Layout, words: Namespace) -> int:
    """Raise NotPrepared, ConfigInvalid, SystemdRefused or PermissionError."""
    file = _config_file(layout, words)
    folders = folders_of(words)
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise NotPrepared(f"There is no folder {missing[0]}.", "Name the one of your models.")
    config = load_config(
        file or embedded(folders),
        estimate=Predictions(Headers()).footprint,
        overrides=Overrides(folders=folders),
        lenient=True,
    )
    unit = _unit(layout, words, file, config)
    edge = _edge_unit(unit, file, config)
    if words.print:
        say_exactly(unit.text())
        if edge is not None:
            say_exactly(f"\n# --- {EDGE_UNIT}\n\n{edge.text()}")
        return DONE
    _require_systemd()
    if edge is not None:
        _require_nginx()
    if layout.scope is Scope.SYSTEM:
        _prepare(unit, file, folders)
    else:
        layout.state.mkdir(parents=True, exist_ok=True)
    layout.units.mkdir(parents=True, exist_ok=True)
    layout.unit.write_text(unit.text())
    systemd = Systemd(layout.scope)
    if edge is None:
        remove_edge(layout, systemd)
    else:
        layout.edge_unit.write_text(edge.text())
    systemd.order("daemon-reload")
    systemd.order("enable", UNIT)
    try:
        systemd.order("restart", UNIT)
    except SystemdRefused as error:
        complain(*systemd.log(), str(error), "It is installed, and tries again at the next boot.")
        return FAILED
    _welcome(layout, systemd, unit, file)
    return DONE if edge is None else _begin_edge(systemd, config)


def _config_file(layout: Layout, words: Namespace) -> Path | None:
    """The one named, else the one at the usual place; None: the embedded default."""
    if words.config is not None:
        return Path(words.config).absolute()
    usual = layout.settings / CONFIG_FILE
    return usual if usual.exists() else None


def _unit(layout: Layout, words: Namespace, file: Path | None, config: Config) -> Unit:
    own = layout.scope is Scope.SYSTEM
    docker = any(entry.runtime is RuntimeName.DOCKER for entry in config.services.values())
    folders = [Path(entry.models_dir) for entry in config.services.values() if entry.models_dir]
    folders += map(Path, config.discovery.folders)
    who = ServiceAccount.named(words.user or USER)
    writes = [config.state_dir] if file is not None else []
    if config.edge is not None and config.edge.dir is not None:
        writes.append(Path(config.edge.dir))
    return Unit(
        scope=layout.scope,
        command=[*program(), *serve_words(words, file)],
        home=layout.state,
        user=words.user or USER,
        groups=groups_for(docker=docker) if own else (),
        writes=[path for path in writes if not path.is_relative_to(layout.state)],
        hub=who.hub if who is not None else CACHE,
        private_tmp=not hidden(folders),
    )


def _edge_unit(unit: Unit, file: Path | None, config: Config) -> EdgeUnit | None:
    if config.edge is None or file is None:
        return None
    return EdgeUnit(
        scope=unit.scope,
        command=[*program(), "edge", "--config", str(file)],
        home=unit.home,
        port=config.edge.port,
        user=unit.user,
        writes=unit.writes,
    )


def _require_nginx() -> None:
    """Raise NotPrepared."""
    try:
        installed(os.environ.get("PATH", ""))  # noqa: TID251 - where programs are
    except NotInstalled as error:
        raise NotPrepared(
            f"The configuration has `edge`, and {error}.", f"Install it: {INSTALL}"
        ) from error


def program() -> list[str]:
    """The one that runs now, by what a later version will be called as well."""
    beside = Path(sys.executable).with_name("orchestrator")
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "orchestrator"]


def folders_of(words: Namespace) -> tuple[Path, ...]:
    return tuple(folder.absolute() for folder in (*words.folders, *words.models_dir))


def serve_words(words: Namespace, file: Path | None) -> Iterator[str]:
    """As `serve` would be typed; what is relative is so to where it is typed, not to the unit."""
    yield "serve"
    yield from map(str, folders_of(words))
    if file is not None:
        yield from ("--config", str(file))
    if words.host is not None:
        yield from ("--host", words.host)
    if words.port is not None:
        yield from ("--port", str(words.port))
    if words.health_port is not None:
        yield from ("--health-port", str(words.health_port))
    if words.verbose:
        yield "--verbose"


def _prepare(unit: Unit, file: Path | None, models: Sequence[Path]) -> None:
    """Have the user and the folders, and try them. Raise NotPrepared or PermissionError."""
    if os.geteuid() != 0:
        raise NotPrepared("The system's service is root's to install.", "Use sudo, or --user.")
    who = account(unit.user)
    for folder in (unit.home, *(path for path in unit.writes if not path.exists())):
        who.owns(folder)
    for folder in models:
        require_readable(who, unit.groups, folder)
    asked = [*program(), "doctor", "--json", *(("--config", str(file)) if file else ())]
    for found in problems(who, unit.groups, unit.home, asked):
        if found["what"] == "state_dir":
            raise NotPrepared(
                f"{who.name} cannot keep its state: {found['detail']}.",
                f"Say state_dir: {STATE} in {file}, or give that folder to {who.name}.",
            )
        if found["what"] != WAITED_FOR_BY_NOBODY:
            complain(f"As {who.name}: {found['what']}: {found['detail']} — {found['remedy']}")


def _welcome(layout: Layout, systemd: Systemd, unit: Unit, file: Path | None) -> None:
    shown = systemd.shown()
    url = address(shown)
    who = f" as {unit.user}" if layout.scope is Scope.SYSTEM else ""
    say(f"{NAME} serves{f' at {url}' if url else ''}{who}, from now on and after every boot.")
    if url and url != URL_DEFAULT:
        say(f"For the other words:  export ORCHESTRATOR_URL={url}")
    if file is not None:
        say(f"After a change in {file}:  {typed(layout.scope, 'reload')}")
    else:
        say("It runs the embedded default. With a configuration of your own:")
        say(f"  orchestrator service install --config {layout.settings / CONFIG_FILE}")
    say(f"Models survive:  {typed(layout.scope, 'restart')}")
    if layout.scope is Scope.USER:
        _stay(systemd)


def _begin_edge(systemd: Systemd, config: Config) -> int:
    """Raise SystemdRefused where systemd does not take the unit."""
    assert config.edge is not None
    systemd.order("enable", EDGE_UNIT)
    try:
        systemd.order("restart", EDGE_UNIT)
    except SystemdRefused as error:
        complain(*systemd.log(EDGE_UNIT), str(error), "The daemon serves without it.")
        return FAILED
    at = f"http://{config.edge.host}:{config.edge.port}"
    say(f"{EDGE_NAME} runs nginx in front of it: {at}. Point clients there.")
    return DONE


def _stay(systemd: Systemd) -> None:
    """A user's services end with the last session, unless the user lingers."""
    try:
        systemd.linger()
    except SystemdRefused as error:
        complain(
            f"It ends when you log out ({error}).",
            "To let it stay, and start at boot:  sudo loginctl enable-linger $USER",
        )


# --- status --------------------------------------------------------------------------------


def _status(systemd: Systemd) -> int:
    """Raise SystemdRefused."""
    shown = systemd.shown()
    if shown["LoadState"] == "not-found":
        complain(f"{UNIT} is not installed.", "`orchestrator service install` does that.")
        return FAILED
    runs = shown["ActiveState"] in ("active", "reloading")
    since = f" since {shown['ActiveEnterTimestamp']}" if runs else ""
    lines = [f"{NAME} is {shown['ActiveState']} ({shown['SubState']}){since}."]
    if runs and shown["StatusText"]:
        lines.append(f"{shown['StatusText']}, process {shown['MainPID']}")
    if shown["NRestarts"] not in ("", "0"):
        lines.append(f"It was started again {shown['NRestarts']} times.")
    if shown["UnitFileState"] != "enabled":
        lines.append(f"It does not start at boot:  {typed(systemd.scope, 'enable')}")
    say(*lines)
    if not runs:
        complain(*systemd.log(), f"To try again:  {typed(systemd.scope, 'restart')}")
    return DONE if _edge_is_well(systemd) and runs else FAILED


def _edge_is_well(systemd: Systemd) -> bool:
    """Also where there is none. Raise SystemdRefused."""
    shown = systemd.shown(EDGE_UNIT)
    if shown["LoadState"] == "not-found":
        return True
    runs = shown["ActiveState"] in ("active", "reloading")
    say(f"{EDGE_NAME} is {shown['ActiveState']} ({shown['SubState']}).")
    if not runs:
        again = typed(systemd.scope, "restart", EDGE_NAME)
        complain(*systemd.log(EDGE_UNIT), f"To try again:  {again}")
    return runs
