"""The keys of a daemon that starts: without any it serves this machine alone."""

import ipaddress

from orchestrator.access.keys.keys import Keys
from orchestrator.access.keys.store import KeysUnreadable
from orchestrator.config.loading import Config
from orchestrator.errors import OrchestratorError


class NoKeys(OrchestratorError):
    """It would be open to everybody who reaches it."""


def opened_keys(config: Config) -> Keys:
    """Raise NoKeys, or what a file that cannot be read is told as."""
    try:
        keys = Keys(config.state_dir)
    except KeysUnreadable as error:
        raise NoKeys(
            f"The daemon does not start without knowing who may use it: {error}"
        ) from error
    open_to = list(_open_to_others(config))
    if keys.closed or config.server.insecure_no_keys or not open_to:
        return keys
    raise NoKeys(
        f"There are no keys, and {' and '.join(open_to)} can be reached from other machines: "
        "whoever does could use everything. Make a key, or listen on 127.0.0.1:\n"
        f"  orchestrator keys create admin --scope admin --config {config.path}\n"
        "  orchestrator serve --host 127.0.0.1"
    )


def _open_to_others(config: Config) -> list[str]:
    places = {"server.host": config.server.host}
    if config.edge is not None:
        places["edge.host"] = config.edge.host
    return [f"{name} {host}" for name, host in places.items() if not is_loopback(host)]


def is_loopback(host: str) -> bool:
    """A name other than localhost may be any address, now or later."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
