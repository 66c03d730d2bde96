"""Where the daemon is, and with which key: as the caller says, else as the environment does."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.client.errors import NotChosen

if TYPE_CHECKING:
    from collections.abc import Mapping

URL, API_KEY = "ORCHESTRATOR_URL", "ORCHESTRATOR_API_KEY"
API_KEY_FILE = "ORCHESTRATOR_API_KEY_FILE"
URL_DEFAULT = "http://127.0.0.1:8000"


def daemon_url(url: str | None, environ: Mapping[str, str]) -> str:
    """Raise NotChosen."""
    return checked_url(url or environ.get(URL, "").strip() or URL_DEFAULT)


def daemon_key(key: str | None, environ: Mapping[str, str]) -> str | None:
    """Raise NotChosen where the file that is named for it cannot be read."""
    key = key or environ.get(API_KEY, "").strip()
    path = environ.get(API_KEY_FILE, "").strip()
    if key or not path:
        return key or None
    try:
        return Path(path).read_text().strip() or None
    except (OSError, UnicodeError) as error:
        detail = f"The file of the key, {path}, cannot be read: {error}."
        raise NotChosen(detail, f"See {API_KEY_FILE}.") from error


def checked_url(url: str) -> str:
    """Without a slash at its end. Raise NotChosen where it is no URL of a server."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        usable = False
    if not usable or any(c <= " " for c in url):
        raise NotChosen(f"{url!r} is not a URL.", f"Give one such as {URL_DEFAULT}.")
    return url.rstrip("/")


def is_of_this_machine(url: str) -> bool:
    """Then no proxy of the environment stands between."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
