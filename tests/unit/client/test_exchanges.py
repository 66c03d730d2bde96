import json

import pytest

from orchestrator.client.errors import (
    DoesNotFit,
    NotAnswered,
    NotUnderstood,
    Refused,
    TryLater,
    UnknownModel,
)
from orchestrator.client.exchanges import (
    BACKOFF_S_MAX,
    Ask,
    Retries,
    answered,
    backoff_s,
    error_of,
    pause_before_next,
    refused,
    seconds_of,
    understood,
)
from tests.unit.client.playing import REFUSED, SILENT, Play, refusal, reply

ASK = Ask(method="GET", path="/x")


def played(*heard, **retries):
    return Play(answered(ASK, Retries(**retries)), *heard)


def test_a_good_answer_is_asked_for_once():
    play = played(reply({"a": 1}))
    assert play.result.body == b'{"a": 1}'
    assert play.steps == [ASK]


def test_a_refusal_with_a_time_is_asked_again_then():
    play = played(refusal("no_room", 503, retry_after_seconds=7), reply())
    assert play.result.status == 200
    assert play.pauses == [7]


def test_a_time_that_is_too_far_is_raised_at_once():
    play = played(refusal("no_room", 503, retry_after_seconds=70), pause_s_max=60)
    assert isinstance(play.error, TryLater)
    assert play.error.retry_after_s == 70
    assert play.pauses == []


def test_pauses_are_counted_together():
    busy = refusal("queue_full", 503, retry_after_seconds=25)
    play = played(busy, busy, busy, pause_s_max=60)
    assert play.pauses == [25, 25]
    assert play.error.code == "queue_full"


def test_what_helps_nobody_is_not_asked_again():
    assert isinstance(played(refusal("does_not_fit", 507)).error, DoesNotFit)
    assert isinstance(played(refusal("unknown_model", 404)).error, UnknownModel)
    assert played(refusal("load_failed", 502)).error.code == "load_failed"


def test_nobody_there_is_tried_a_few_times_and_silence_once():
    play = played(*[REFUSED] * 4)
    assert isinstance(play.error, NotAnswered)
    assert play.pauses == [0.2, 0.4, 0.8]
    play = played(SILENT)
    assert play.error.timed_out
    assert play.pauses == []


def test_the_number_of_tries_is_bound():
    play = played(REFUSED, REFUSED, tries_max=2)
    assert len(play.asks) == 2


def test_backing_off_has_a_bound():
    assert [backoff_s(n) for n in (1, 2, 3)] == [0.2, 0.4, 0.8]
    assert backoff_s(9999) == BACKOFF_S_MAX


def test_later_without_a_time_backs_off():
    assert pause_before_next(TryLater(503, "x", "", "", {}), 2) == backoff_s(2)
    assert pause_before_next(UnknownModel(404, "x", "", "", {}), 1) is None


# --- what an answer means --------------------------------------------------------------------


def test_a_refusal_of_ours_is_read_whole():
    error = error_of(refusal("no_room", 503, needed_mb=5, retry_after_seconds=3))
    assert isinstance(error, TryLater)
    assert (error.status, error.code, error.detail, error.remedy) == (
        503, "no_room", "no_room.", "Help.",
    )  # fmt: skip
    assert (error.needed_mb, error.retry_after_s) == (5, 3)


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        ({"error": {"message": "Loading model", "code": 503}}, "http_503", "Loading model"),
        ({"error": {"message": "m", "code": "no_room", "remedy": "r"}}, "no_room", "m"),
        ({"error": "model 'x' not found"}, "http_503", "model 'x' not found"),
        ({"object": "error", "message": "vllm says", "code": None}, "http_503", "vllm says"),
        ([], "http_503", "The answer was 503."),
    ],
)
def test_refusals_of_other_servers_are_read(body, code, detail):
    error = error_of(reply(json.dumps(body).encode(), 503))
    assert (error.code, error.detail) == (code, detail)


def test_numbers_inside_openai_s_error_are_members_too():
    assert refused(503, {"error": {"message": "m", "needed_mb": 7}}).needed_mb == 7


def test_no_json_is_still_a_refusal():
    error = error_of(reply(b"<html>Bad Gateway</html>", 502))
    assert type(error) is Refused
    assert error.code == "http_502"


def test_the_header_says_when_where_the_body_does_not():
    assert error_of(reply({"error": "busy"}, 429, retry_after="12")).retry_after_s == 12
    assert error_of(reply({"error": "busy"}, 429, retry_after="soon")).retry_after_s is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("5", 5), ("0", 0), ("-1", None), ("inf", None), ("nan", None)]
)
def test_seconds_are_a_number_from_nought_on(text, seconds):
    assert seconds_of(text) == seconds


def test_silence_and_refusal_differ():
    assert error_of(SILENT).timed_out
    assert "may still happen" in str(error_of(SILENT))
    assert not error_of(REFUSED).timed_out


@pytest.mark.parametrize("body", [b"hello", b"[1]", b"", b'{"b": 1}'])
def test_what_is_not_expected_is_not_understood(body):
    with pytest.raises(NotUnderstood):
        understood(reply(body), lambda told: told["a"])
