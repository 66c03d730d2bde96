"""Servers that ask for a key: where it lies for each, and where their clients ask instead."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from orchestrator.access.resident_keys import ResidentKeys
from orchestrator.errors import StartFailed
from orchestrator.ports import KEY_FILE_TOKEN, Launch, Running
from orchestrator.runtimes.process.failures import unwritable_key
from orchestrator.runtimes.process.handle import HOST, ServerRef


def key_file(keys: ResidentKeys, launch: Launch, port: int) -> Path | None:
    """A new one, for a server that is to have a key. Raise StartFailed.

    Another server may have had the port before: what was known of it is dropped.
    """
    authority = f"{HOST}:{port}"
    keys.drop(authority)
    if not any(KEY_FILE_TOKEN in argument for argument in launch.argv):
        return None
    try:
        return keys.make(authority)
    except OSError as error:
        raise StartFailed(unwritable_key(launch, error)) from error


def told(server: ServerRef, keys: ResidentKeys, gateway: str) -> Running:
    """Clients of a server that has a key are sent to the gateway, which knows it."""
    running = server.running
    if keys.bearer(running.endpoint.url) is None or not gateway:
        return running
    named = f"{gateway}/upstream/{quote(server.model, safe='')}"
    return replace(running, endpoint=replace(running.endpoint, direct=named))
