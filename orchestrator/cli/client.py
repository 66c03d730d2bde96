"""Speaks HTTP to a running daemon, for the command line. Blocking; one connection per question."""

from __future__ import annotations

import http.client
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

URL_DEFAULT = "http://127.0.0.1:8000"
API_KEY, API_KEY_FILE = "ORCHESTRATOR_API_KEY", "ORCHESTRATOR_API_KEY_FILE"
ANSWER_S = 30.0  # anything but a load is answered from memory, or drains for as long as it says
EVENTS_S = 45.0  # three pings of the event stream
LINE_BYTES_MAX = 16 << 20  # of an event: a snapshot of a large catalogue

Json = dict[str, object]


class RefusedByDaemon(Exception):
    """The daemon answered with an error; `body` explains it."""

    def __init__(self, status: int, body: Json, text: str) -> None:
        super().__init__(str(body.get("detail", status)))
        self.status = status
        self.body = body
        self.text = text


class NotReached(Exception):
    """No answer came, or none of this API. The remedy says what would help."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


class UrlInvalid(Exception):
    """ORCHESTRATOR_URL is not a URL of a daemon."""


class KeyFileUnreadable(Exception):
    """ORCHESTRATOR_API_KEY_FILE cannot be read."""


def key_from(environ: Mapping[str, str]) -> str | None:
    """From a variable or the file that one names; never from the command line, which others see.

    Raise KeyFileUnreadable.
    """
    if key := environ.get(API_KEY, "").strip():
        return key
    path = environ.get(API_KEY_FILE, "").strip()
    if not path:
        return None
    try:
        return Path(path).read_text().strip() or None
    except (OSError, UnicodeError) as error:
        raise KeyFileUnreadable(f"{API_KEY_FILE}: {path} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Answer:
    body: Mapping[str, object]
    text: str  # exactly as it came


@dataclass(frozen=True, slots=True)
class Remote:
    url: str
    api_key: str | None = None

    def __post_init__(self) -> None:
        """Raise UrlInvalid."""
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number, brackets that do not close
            usable = False
        if not usable or any(c <= " " for c in self.url):
            raise UrlInvalid(f"{self.url!r} is not a URL such as {URL_DEFAULT}")

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float = ANSWER_S,
    ) -> Answer:
        """Raise RefusedByDaemon or NotReached."""
        with self._sent(method, path, body, {"Accept": "application/json"}, timeout_s) as response:
            text = response.read().decode("utf-8", "replace")
            return Answer(self._understood(response.status, text), text)

    def events(self, path: str) -> Iterator[Json]:
        """Live events, until the connection ends. Raise RefusedByDaemon or NotReached."""
        headers = {"Accept": "text/event-stream"}
        with self._sent("GET", path, None, headers, EVENTS_S) as response:
            if response.status != 200:
                self._understood(response.status, response.read().decode("utf-8", "replace"))
            while line := response.readline(LINE_BYTES_MAX):
                if line.startswith(b"data:"):
                    yield self._parsed(line.removeprefix(b"data:").decode("utf-8", "replace"))

    def streamed(self, path: str, body: Mapping[str, object]) -> Iterator[Json]:
        """What comes in answer, line by line, as server-sent events or as JSON in lines.

        Ends with the connection. Raise RefusedByDaemon or NotReached.
        """
        headers = {"Accept": "text/event-stream, application/x-ndjson"}
        with self._sent("POST", path, body, headers, EVENTS_S) as response:
            if response.status != 200:
                self._understood(response.status, response.read().decode("utf-8", "replace"))
            while line := response.readline(LINE_BYTES_MAX):
                said = line.removeprefix(b"data:").strip()
                if said.startswith(b"{"):
                    yield self._parsed(said.decode("utf-8", "replace"))

    @contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> Iterator[http.client.HTTPResponse]:
        parts = urlsplit(self.url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        sent = dict(headers)
        if self.api_key is not None:
            sent["Authorization"] = f"Bearer {self.api_key}"
        if method != "GET":
            sent["Content-Type"] = "application/json"
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, parts.path.rstrip("/") + path, payload, sent)
            yield connection.getresponse()
        except TimeoutError as error:
            raise NotReached(
                f"{self.url} did not answer within {timeout_s:.0f} s",
                "Is it overloaded? What was ordered may still happen: see `orchestrator status`.",
            ) from error
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            raise self._not_reached(error) from error
        finally:
            connection.close()

    def _not_reached(self, error: Exception) -> NotReached:
        if isinstance(error, ConnectionRefusedError):
            return NotReached(
                f"No daemon answers at {self.url}.",
                "Start one with `orchestrator serve`, or set ORCHESTRATOR_URL.",
            )
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return NotReached(
            f"{self.url} cannot be reached: {said}.", "Check ORCHESTRATOR_URL and the network."
        )

    def _understood(self, status: int, text: str) -> Json:
        if status == 204:
            return {}
        body = self._parsed(text)
        if status >= 400:
            raise RefusedByDaemon(status, body, text)
        return body

    def _parsed(self, text: str) -> Json:
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise NotReached(
                f"What answers at {self.url} is not VRAM Orchestrator.", "Check ORCHESTRATOR_URL."
            )
        return body
