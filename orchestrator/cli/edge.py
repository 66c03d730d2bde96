"""`orchestrator edge`: nginx in front of the daemon, in the foreground."""

# ruff: noqa: PLC0415 - as in main.py: other words do not wait for these imports

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.commands import DONE, FAILED
from orchestrator.cli.screen import complain, say

if TYPE_CHECKING:
    import argparse

    from orchestrator.config.loading import Config
    from orchestrator.gateway.edge.child import Nginx

MISUSED = 2
LOOK_S = 0.5  # how soon a signal is heard


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="else ORCHESTRATOR_CONFIG")


def run(words: argparse.Namespace) -> int:
    """Until SIGTERM or SIGINT, or the end of nginx; SIGHUP has the configuration read again."""
    from orchestrator.config.embedded import chosen
    from orchestrator.errors import ConfigInvalid, Failed
    from orchestrator.gateway.edge.child import INSTALL, Nginx, NotInstalled, installed

    heard: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: heard.append(number))
    path = chosen(words.config)
    try:
        config = _read(path)
        if config.edge is None:
            complain(f"{path} has no section `edge`.", "Add one, such as edge: {port: 8080}.")
            return MISUSED
        found = installed(os.environ.get("PATH", ""))  # noqa: TID251 - where programs are
        nginx = Nginx(found, config.edge, config.server.body_limit_bytes)
    except ConfigInvalid as error:
        complain(*error.mistakes)
        return MISUSED
    except NotInstalled as error:
        complain(f"The edge cannot start: {error}.", f"Install it: {INSTALL}")
        return FAILED
    except (Failed, OSError) as error:
        complain(f"The edge cannot start: {error}.", "")
        return FAILED
    started = nginx.start()
    what = "started" if started else "runs already, and is taken over"
    at = f"http://{config.edge.host}:{config.edge.port}"
    say(f"nginx {nginx.pid} {what}: {at}, its files in {config.edge.dir}.")
    return _watch(nginx, path, config, heard)


def _watch(nginx: Nginx, path: Path, config: Config, heard: list[int]) -> int:
    while not nginx.ended(LOOK_S):
        while heard:
            if heard.pop(0) != signal.SIGHUP:
                say("nginx is told to end; answers under way are finished.")
                nginx.end()
                return DONE
            config = _reloaded(nginx, path, config)
        if nginx.forget_figures():
            complain("Figures of requests were dropped: no daemon has read them.", "Start it.")
    complain(f"nginx {nginx.pid} has ended.", "What it said stands above.")
    return FAILED


def _reloaded(nginx: Nginx, path: Path, config: Config) -> Config:
    """The configuration in force from now on."""
    from orchestrator.errors import ConfigInvalid, Failed

    try:
        new = _read(path)
        if new.edge is None or config.edge is None or new.edge.dir != config.edge.dir:
            complain("edge.dir, or all of edge, has changed: nothing is done.", "Start it anew.")
            return config
        nginx.configure(new.edge, new.server.body_limit_bytes)
    except ConfigInvalid as error:
        complain("The configuration was not reloaded, nothing has changed:", *error.mistakes)
        return config
    except (Failed, OSError) as error:
        complain(f"The configuration was not reloaded: {error}.", "")
        return config
    nginx.reload()
    say(f"nginx has the configuration of now: http://{new.edge.host}:{new.edge.port}.")
    return new


def _read(path: Path) -> Config:
    """Raise ConfigInvalid."""
    from orchestrator.catalogue.predictions import Predictions
    from orchestrator.config.loading import load_config
    from orchestrator.gguf.headers import Headers

    return load_config(path, estimate=Predictions(Headers()).footprint, lenient=True)
