from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from orchestrator.hub.answers import Listing, judge, plain_etag, read_listing
from orchestrator.hub.failures import Again, Cause, PullFailed
from orchestrator.hub.progress import Patience
from orchestrator.hub.references import Reference

COMMIT = "a" * 40
REFERENCE = Reference(repo="org/Repo")
HUB = httpx.Request("GET", "https://hub.example/org/Repo")


def judged(status: int, *, ours: bool = True, **headers: str) -> PullFailed | Again:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises((PullFailed, Again)) as caught:
        judge(
            httpx.Response(status, headers=named, request=HUB),
            "org/Repo",
            ours=ours,
            patience=Patience(),
        )
    return caught.value


def test_success_is_no_failure() -> None:
    for status in (200, 206, 416):
        judge(httpx.Response(status, request=HUB), "x", ours=True, patience=Patience())


@pytest.mark.parametrize(
    ("status", "cause"),
    [(401, Cause.GATED), (403, Cause.GATED), (404, Cause.NOT_FOUND), (400, Cause.BAD_ANSWER)],
)
def test_a_refusal_of_the_hub_lasts(status: int, cause: Cause) -> None:
    failure = judged(status)
    assert isinstance(failure, PullFailed)
    assert failure.cause is cause


@pytest.mark.parametrize("status", [408, 500, 502, 503])
def test_trouble_of_the_hub_passes(status: int) -> None:
    assert isinstance(judged(status), Again)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusal_elsewhere_passes_because_addresses_expire(status: int) -> None:
    assert isinstance(judged(status, ours=False), Again)


def test_a_gated_model_says_where_to_accept_its_licence() -> None:
    failure = judged(403, x_error_code="GatedRepo")
    assert "hub.example" in failure.remedy
    assert "HF_TOKEN" in failure.remedy


def test_no_access_may_mean_that_it_does_not_exist() -> None:
    assert "does not exist" in judged(401, x_error_code="RepoNotFound").detail


def test_retry_after_is_a_number_or_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    assert judged(429, retry_after="30").after_s == 30
    assert 45 < judged(429, retry_after=soon).after_s <= 50
    assert judged(429, retry_after="soon").after_s is None
    assert judged(429).after_s is None
    assert isinstance(judged(429, retry_after="100000"), PullFailed)


def test_an_etag_is_plain() -> None:
    assert plain_etag('W/"abc"') == "abc"
    assert plain_etag(None) is None


def test_names_that_leave_the_folder_are_not_listed() -> None:
    text = (
        b'{"sha": "%s", "siblings": [{"rfilename": "../evil.gguf"}, {"rfilename": "/etc/x"},'
        b' {"rfilename": "a/b.gguf", "lfs": {"sha256": "d"}}, {"rfilename": "c", "size": 7},'
        b' {"rfilename": "d", "size": "big"}]}'
    ) % COMMIT.encode()
    assert read_listing(text, REFERENCE) == Listing(
        COMMIT, {"a/b.gguf": "d", "c": None, "d": None}, {"c": 7}
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"sha": "../..", "siblings": []}',
        b'{"sha": 1, "siblings": []}',
        b'{"sha": "%s", "siblings": 3}' % COMMIT.encode(),
        b'{"sha": "%s", "siblings": [{"rfilename": 3}]}' % COMMIT.encode(),
        b'{"sha": "%s", "siblings": [{"rfilename": "a", "lfs": 3}]}' % COMMIT.encode(),
    ],
)
def test_what_is_no_list_is_called_so(text: bytes) -> None:
    with pytest.raises(PullFailed) as caught:
        read_listing(text, REFERENCE)
    assert caught.value.cause is Cause.BAD_ANSWER
