"""What a hub's answers mean: a list of files, a refusal that lasts, or one that may pass."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from orchestrator.hub.failures import Again, Cause, PullFailed
from orchestrator.hub.layout import COMMIT
from orchestrator.hub.progress import Patience
from orchestrator.hub.references import Reference, is_inside

ACCESS = (401, 403)
NOT_FOUND, REQUEST_TIMEOUT, RANGE_REFUSED, TOO_MANY = 404, 408, 416, 429
BUSY_S = 60.0  # when a busy hub does not say how long


@dataclass(frozen=True, slots=True)
class Listing:
    """What a revision is: its commit, the digest of every file that the hub tells one for, and the
    sizes that it tells.
    """

    commit: str
    digests: dict[str, str | None]
    sizes: Mapping[str, int] = field(default_factory=dict)


def judge(response: httpx.Response, what: str, *, ours: bool, patience: Patience) -> None:
    status, host = response.status_code, response.request.url.host
    if response.is_success or status == RANGE_REFUSED:
        return
    if status in ACCESS and ours:
        raise PullFailed(Cause.GATED, *_no_access(response, what, status))
    if status == NOT_FOUND and ours:
        raise PullFailed(
            Cause.NOT_FOUND, f"{host} has no {what}.", "Check the spelling and the revision."
        )
    if status == TOO_MANY:
        raise _busy(response, what, patience)
    odd = PullFailed(
        Cause.BAD_ANSWER,
        f"{host} answers {status} for {what}.",
        "Try again later; what has arrived is kept.",
    )
    # Signed addresses of a delivery network expire: the hub is asked for a new one.
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == REQUEST_TIMEOUT or not ours:
        raise Again(odd)
    raise odd


def _no_access(response: httpx.Response, what: str, status: int) -> tuple[str, str]:
    host = response.request.url.host
    if response.headers.get("x-error-code") == "GatedRepo":
        return (
            f"{what} is gated: its owner wants a licence accepted first.",
            f"Accept it on {host} while signed in, then set HF_TOKEN to a token of that account.",
        )
    return (
        f"{host} gives no access to {what} ({status}): it does not exist, is private or gated.",
        "Check the spelling; if it is right, set HF_TOKEN to a token that may read it.",
    )


def _busy(response: httpx.Response, what: str, patience: Patience) -> Exception:
    after_s = _retry_after(response.headers.get("retry-after"))
    host = response.request.url.host
    failure = PullFailed(
        Cause.BUSY,
        f"{host} wants fewer requests (429 for {what}).",
        f"Run it again in {after_s or BUSY_S:.0f} s; with HF_TOKEN set a hub allows more.",
    )
    if after_s is not None and after_s > patience.retry_after_s:
        return failure
    return Again(failure, after_s)


def _retry_after(text: str | None) -> float | None:
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def plain_etag(text: str | None) -> str | None:
    return None if text is None else text.removeprefix("W/").strip('"')


def read_listing(text: bytes, reference: Reference) -> Listing:
    """Only what is needed is read, and all of that is checked."""
    try:
        answer = json.loads(text)
        commit = answer["sha"]
        found = {
            file["rfilename"]: (file.get("lfs") or {}).get("sha256") for file in answer["siblings"]
        }
        digests = {path: digest for path, digest in found.items() if is_inside(path)}
        sizes = {
            file["rfilename"]: size
            for file in answer["siblings"]
            if isinstance(size := file.get("size"), int) and file["rfilename"] in digests
        }
        usable = COMMIT.fullmatch(commit) is not None
    except (ValueError, KeyError, TypeError, AttributeError):
        usable = False
    if not usable:
        raise PullFailed(
            Cause.BAD_ANSWER,
            f"What the hub answers about {reference.repo} is not a list of files.",
            "Is HF_ENDPOINT the address of a hub?",
        )
    return Listing(commit=commit, digests=digests, sizes=sizes)
