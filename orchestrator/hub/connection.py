"""Talks to a hub: what a repository holds, and the bytes of one file.

The token goes to the hub itself and to no host that it redirects to. Nothing is logged: addresses
carry signatures. A failure that may pass is raised as `Again`; `persist` is the only retry.
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, TypeVar
from urllib.parse import quote

import httpx

from orchestrator.hub.answers import RANGE_REFUSED, Listing, judge, plain_etag, read_listing
from orchestrator.hub.failures import Again, Cause, PullFailed
from orchestrator.hub.progress import Meter, Patience
from orchestrator.hub.references import Reference

REDIRECTS_MAX = 5  # a renamed repository and a delivery network are two
LISTING_BYTES_MAX = 16 << 20  # a repository of ten thousand files takes two
_TOKEN = re.compile(r"[!-~]+")  # anything else would be quoted in the error of a header
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a file must be. The digest is SHA-256, or git's SHA-1 for what is kept in git."""

    path: str
    digest: str
    size_bytes: int


def persist(attempt: Callable[[], T], meter: Meter, patience: Patience) -> T:
    """Try until it works, a lasting failure says otherwise, or the attempts are used up."""
    for tried in range(1, patience.attempts + 1):
        try:
            return attempt()
        except Again as again:
            if tried == patience.attempts:
                raise again.failure from again
            pause_s = again.after_s
            if pause_s is None:
                pause_s = min(2.0 ** (tried - 1), patience.pause_s)
            meter.pause(pause_s, again.failure.detail)
    raise AssertionError("attempts are at least one")


class Hub:
    """One conversation with one hub."""

    def __init__(self, endpoint: str, token: str | None, patience: Patience) -> None:
        try:
            self._endpoint = httpx.URL(endpoint.rstrip("/"))
        except httpx.InvalidURL:
            self._endpoint = httpx.URL()
        if self._endpoint.scheme not in ("http", "https") or not self._endpoint.host:
            raise PullFailed(
                Cause.INVALID,
                f"{endpoint!r} is not the address of a hub.",
                "Set HF_ENDPOINT to something like https://huggingface.co.",
            )
        if token is not None and not _TOKEN.fullmatch(token):
            raise PullFailed(
                Cause.INVALID,
                "HF_TOKEN is not a token: it is empty or holds spaces or other odd characters.",
                "Set it to the token alone, without quotes, or unset it.",
            )
        self._token = token
        self._patience = patience
        timeout = httpx.Timeout(patience.read_s, connect=patience.connect_s)
        self._client = httpx.Client(timeout=timeout, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def listing(self, reference: Reference) -> Listing:
        where = f"/api/models/{reference.repo}/revision/{quote(reference.revision, safe='')}"
        with self._sent("GET", where + "?blobs=true", reference.repo) as response:
            return read_listing(_bounded(response), reference)

    def facts(self, reference: Reference, listing: Listing, path: str) -> Facts:
        """What the hub promises of a file, asked without its bytes."""
        where = self._place(reference, listing.commit, path)
        with self._sent("HEAD", where, f"{reference.repo}:{path}", stop_when_linked=True) as answer:
            said = answer.headers
        for digest in (plain_etag(said.get("x-linked-etag")), listing.digests.get(path)):
            if digest is not None and _DIGEST.fullmatch(digest):
                break
        else:
            digest = plain_etag(said.get("etag"))
        size = said.get("x-linked-size") or said.get("content-length") or ""
        if digest is None or not _DIGEST.fullmatch(digest) or not size.isdecimal():
            raise PullFailed(
                Cause.BAD_ANSWER,
                f"{self._endpoint.host} does not say the size and the hash of {path}.",
                "Only what can be verified is downloaded: use the hub itself instead of a mirror.",
            )
        return Facts(path=path, digest=digest, size_bytes=int(size))

    @contextmanager
    def body(
        self, reference: Reference, commit: str, path: str, offset: int
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes from `offset` on, or from where the server prefers; says from where."""
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        where = self._place(reference, commit, path)
        with self._sent("GET", where, f"{reference.repo}:{path}", headers=wanted) as response:
            if response.status_code == RANGE_REFUSED:
                yield 0, iter(())
                return
            start = (
                _start_of(response) if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
            )
            with _translated(path):
                yield start, response.iter_raw()

    def _place(self, reference: Reference, commit: str, path: str) -> str:
        return f"/{reference.repo}/resolve/{commit}/{quote(path)}"

    @contextmanager
    def _sent(
        self,
        method: str,
        where: str,
        what: str,
        *,
        headers: dict[str, str] | None = None,
        stop_when_linked: bool = False,
    ) -> Iterator[httpx.Response]:
        url = httpx.URL(f"{self._endpoint}{where}")
        for _ in range(REDIRECTS_MAX + 1):
            ours = _origin(url) == _origin(self._endpoint)
            request = self._client.build_request(method, url, headers=self._headers(headers, ours))
            with _translated(what):
                response = self._client.send(request, stream=True)
            with contextlib.closing(response):
                if response.has_redirect_location and not (
                    stop_when_linked and "x-linked-etag" in response.headers
                ):
                    url = self._next(url, response.headers["location"])
                    continue
                if not response.has_redirect_location:
                    judge(response, what, ours=ours, patience=self._patience)
                yield response
                return
        raise PullFailed(
            Cause.BAD_ANSWER,
            f"{self._endpoint.host} redirects more than {REDIRECTS_MAX} times for {what}.",
            "Is HF_ENDPOINT the address of a hub?",
        )

    def _headers(self, more: dict[str, str] | None, ours: bool) -> dict[str, str]:
        # Without identity a server may compress, and positions would not be those of the file.
        headers = {"Accept-Encoding": "identity", "User-Agent": "vram-orchestrator", **(more or {})}
        if ours and self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _next(self, url: httpx.URL, location: str) -> httpx.URL:
        try:
            following = url.join(location)
        except httpx.InvalidURL:
            following = httpx.URL()
        allowed = ("https",) if url.scheme == "https" else ("http", "https")
        if following.scheme not in allowed:
            raise PullFailed(
                Cause.BAD_ANSWER,
                f"{url.host} redirects to an address that is not {' or '.join(allowed)}.",
                "Is HF_ENDPOINT the address of a hub?",
            )
        return following


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return (url.scheme, url.host, url.port)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise Again(
            PullFailed(
                Cause.NO_NETWORK,
                f"The hub cannot be reached ({error}).",
                "Check the network, HTTPS_PROXY and HF_ENDPOINT, then run it again.",
            )
        ) from error
    except httpx.TransportError as error:
        words = str(error) or type(error).__name__
        raise Again(
            PullFailed(
                Cause.TRUNCATED,
                f"The connection broke in the middle of {what} ({words}).",
                "Run it again: what has arrived is kept.",
            )
        ) from error


def _start_of(response: httpx.Response) -> int:
    match = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    if match is None:
        raise PullFailed(
            Cause.BAD_ANSWER,
            f"{response.request.url.host} sends a part without saying which.",
            "Use another endpoint (HF_ENDPOINT).",
        )
    return int(match[1])


def _bounded(response: httpx.Response) -> bytes:
    text = b""
    with _translated("the list of files"):
        for piece in response.iter_raw():
            text += piece
            if len(text) > LISTING_BYTES_MAX:
                break
    return text
