"""The page at the root, and what it is made of: read from the package and compressed once.

It is the same for whoever asks; what it shows, it asks for like any other client. It is sent as it
is written, but for the comments.
"""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from orchestrator.config.sections import Dashboard
from orchestrator.web.rest.policy import page_headers
from orchestrator.web.rest.responses import DeskOf
from orchestrator.web.wire.error_answers import Answered, ErrorAnswer, WebCode, clip

FOLDER = Path(__file__).parents[1] / "dashboard"
VENDORED = frozenset({"preact.mjs", "htm.mjs"})
TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
}
PAGE_HEADERS = page_headers("worker-src 'self'", "img-src 'self' data:", policies="own")
ASSET_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-cache",  # asked anew every time, and sent anew only where it has changed
    "X-Content-Type-Options": "nosniff",
}
# Only whole lines: the others keep their numbers.
COMMENTS: Mapping[str, re.Pattern[bytes]] = {
    ".css": re.compile(rb"^/\*.*\*/$", re.MULTILINE),
    ".js": re.compile(rb"^ *//.*", re.MULTILINE),
}
HOW_MUCH = b'data-dashboard="full"'  # as the page is written

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    compressed: bytes
    media_type: str
    tag: str


@cache
def assets() -> Mapping[str, Asset]:
    """All that the page asks for, by name."""
    paths = [path for path in FOLDER.iterdir() if path.suffix in TYPES and path.suffix != ".html"]
    paths += [FOLDER / "vendor" / name for name in VENDORED]
    return {path.name: _asset(_uncommented(path), path.suffix) for path in paths}


def _uncommented(path: Path) -> bytes:
    body, comments = path.read_bytes(), COMMENTS.get(path.suffix)
    return body if comments is None else comments.sub(b"", body)


@cache
def page(how_much: Dashboard) -> Asset:
    written = (FOLDER / "index.html").read_bytes()
    assert HOW_MUCH in written
    return _asset(written.replace(HOW_MUCH, f'data-dashboard="{how_much}"'.encode()), ".html")


def _asset(body: bytes, suffix: str) -> Asset:
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    return Asset(body, gzip.compress(body, 9, mtime=0), TYPES[suffix], tag)


@router.get("/")
async def root(request: Request, desk: DeskOf) -> Response:
    """For browsers; what else asks for the root gets what Ollama says there."""
    how_much = desk.config.server.dashboard
    if how_much is Dashboard.OFF:
        return RedirectResponse("/docs", status_code=307)
    return _sent(page(how_much), request, PAGE_HEADERS)


@router.get("/dashboard/{asset}")
async def part(asset: str, request: Request, desk: DeskOf) -> Response:
    found = assets().get(asset)
    if found is None or desk.config.server.dashboard is Dashboard.OFF:
        raise Answered(
            ErrorAnswer(code=WebCode.NOT_FOUND, detail=f"There is no {clip(asset)} here.")
        )
    return _sent(found, request, ASSET_HEADERS)


def _sent(asset: Asset, request: Request, headers: Mapping[str, str]) -> Response:
    told = {**headers, "ETag": asset.tag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=told)
    body = asset.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, told = asset.compressed, {**told, "Content-Encoding": "gzip"}
    return Response(body, headers=told, media_type=asset.media_type)
