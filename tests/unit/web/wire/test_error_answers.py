import json

import pytest

from orchestrator.access.keys.decision import AccessCode
from orchestrator.core.values.failures import Failure, FailureReason, ShortOf
from orchestrator.core.values.messages import ShutdownBegan
from orchestrator.core.values.refusals import Blocker, Refusal, RefusalCode
from orchestrator.core.values.vram import MiB
from orchestrator.errors import RegistryFailed
from orchestrator.web.wire.error_answers import (
    MEANINGS,
    ErrorAnswer,
    WebCode,
    encode,
    error_body,
    error_of,
)
from tests.standins.memory import MemoryRegistry
from tests.unit.web.office import Office

CONTRACT = {
    "unknown_model": 404,
    "unknown_service": 404,
    "unknown_profile": 404,
    "in_use": 409,
    "pinned": 409,
    "conflict": 409,
    "invalid": 422,
    "does_not_fit": 507,
    "no_room": 503,
    "queue_full": 503,
    "load_deadline": 503,
    "breaker_open": 503,
    "device_unreadable": 503,
    "shutting_down": 503,
    "load_failed": 502,
    "rate_limited": 429,
    "bad_host": 421,
    "bad_origin": 403,
    "not_json": 415,
    "too_large": 413,
}


@pytest.mark.parametrize("code", [*RefusalCode, *WebCode])
def test_every_code_has_a_status(code):
    assert MEANINGS[code].status >= 400
    assert MEANINGS[code].title


def test_codes_of_the_contract_have_the_status_of_the_contract():
    assert {code: MEANINGS[code].status for code in CONTRACT} == CONTRACT


def test_no_code_belongs_to_two():
    assert len(MEANINGS) == len({*map(str, RefusalCode), *map(str, WebCode), *map(str, AccessCode)})


@pytest.mark.parametrize("code", [c for c in MEANINGS if MEANINGS[c].status in (429, 503)])
def test_every_429_and_503_says_when_to_come_back(code):
    assert error_body(ErrorAnswer(code=code, detail="No."), "/x")["retry_after_seconds"] == 5
    later = ErrorAnswer(code=code, detail="No.", retry_after_s=0.2)
    assert error_body(later, "/x")["retry_after_seconds"] == 1


def test_refusal_carries_its_numbers():
    blocker = Blocker(device="fake-0", model="b", held_bytes=5 * MiB, why="in use", ends_s=600.0)
    refusal = Refusal(
        code=RefusalCode.NO_ROOM,
        detail="a needs room.",
        remedy="Unload b.",
        needed_bytes=10 * MiB,
        available_bytes=0,
        foreign_bytes=3 * MiB,
        blockers=(blocker,),
        retry_after_s=9.5,
        possible_s=61.5,
    )
    assert error_body(error_of(refusal, operation_id="op-1"), "/models/load") == {
        "type": "urn:vram-orchestrator:no_room",
        "title": "No room now",
        "status": 503,
        "detail": "a needs room.",
        "instance": "/models/load",
        "code": "no_room",
        "remedy": "Unload b.",
        "needed_mb": 10,
        "available_mb": 0,
        "foreign_mb": 3,
        "blockers": [
            {
                "device": "fake-0",
                "model": "b",
                "held_mb": 5,
                "why": "in use",
                "lasting": False,
                "possible_at": "1970-01-01T00:10:00.000Z",
            }
        ],
        "possible_at": "1970-01-01T00:01:01.500Z",
        "operation_id": "op-1",
        "retry_after_seconds": 10,
        "error": {
            "message": "a needs room. Unload b.",
            "type": "server_error",
            "param": None,
            "code": "no_room",
        },
    }


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("Application/Problem+JSON, */*", "application/problem+json"),
    ],
)
def test_problem_json_only_for_those_who_ask(office, accept, media_type):
    headers = {} if accept is None else {"Accept": accept}
    answer = office.asked("GET", "/models/zzz", headers=headers)
    assert answer.headers["Content-Type"] == media_type
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")


def test_failure_carries_its_cause_its_log_and_what_helps():
    failure = Failure(
        reason=FailureReason.OUT_OF_MEMORY,
        detail="It ran out.",
        log_tail=("no more",),
        short_of=ShortOf.CONTEXT,
        remedy="Take a smaller one.",
    )
    refusal = Refusal(code=RefusalCode.LOAD_FAILED, detail="a failed.", failure=failure)
    body = error_body(error_of(refusal), "/models/load")
    assert (body["status"], body["cause"], body["log_tail"]) == (502, "out_of_memory", ["no more"])
    assert (body["short_of"], body["remedy"]) == ("context", "Take a smaller one.")


def test_refusal_at_once_has_retry_after(office):
    office.run(shut_down(office))
    answer = office.asked("POST", "/models/load", json={"model": "a"})
    assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
    assert int(answer.headers["Retry-After"]) == answer.json()["retry_after_seconds"] >= 1


async def shut_down(office):
    office.conductor.tell(ShutdownBegan(stop_residents=False))


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/models/", "/metric", "/v1/chat/completions", "/models/a%2Fb", "/" + "x" * 9000],
)
def test_unknown_path_is_our_404(office, path):
    answer = office.asked("GET", path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert len(answer.text) < 1500


@pytest.mark.parametrize(
    "name", ["..%2f..%2fetc", "%2e%2e", "a%00b", "%ff", "x" * 10_000, "%ed%a0%80"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_hostile_name_is_refused_in_words(office, name, method):
    answer = office.asked(method, f"/models/{name}")
    assert answer.status_code in (404, 405, 422)
    assert "Traceback" not in answer.text
    assert len(answer.text) < 2000


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("GET", "/unload", "Use POST /api/models/unload."),
        ("GET", "/models/load", "Use POST /models/load."),
        ("GET", "/models/unload", "Use POST /models/unload."),
        ("GET", "/api/models/unload", "Use POST /api/models/unload."),
        ("GET", "/admin/reload", "Use POST /admin/reload."),
        ("DELETE", "/models/status", "Use GET /models/status."),
        ("POST", "/health", "Use GET /health."),
    ],
)
def test_wrong_method_is_405_with_a_hint(office, method, path, hint):
    before = office.state()
    answer = office.asked(method, path)
    if path == "/models/status":  # to the router, a name of a model like any other
        assert answer.json()["code"] == "unknown_model"
        return
    assert (answer.status_code, answer.json()["remedy"]) == (405, hint)
    assert answer.headers["Allow"] == hint.split()[1]
    assert office.state() == before


def test_crash_is_a_500_without_the_inside(tmp_path, caplog):
    with Office(tmp_path, problems=lambda: 1 / 0) as office:
        answer = office.asked("GET", "/health/ready")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "division" not in answer.text
    assert "ZeroDivisionError" in caplog.text


class Unreadable(MemoryRegistry):
    async def find(self, table, key):
        raise RegistryFailed("disk full: /secret/path")


def test_broken_registry_is_503(tmp_path):
    with Office(tmp_path, registry=Unreadable()) as office:
        answer = office.asked("GET", "/operations/op-1")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "Retry-After" in answer.headers
    assert "secret" not in answer.text


def test_half_a_surrogate_pair_survives_encoding():
    assert json.loads(encode({"a": "x\ud800"})) == {"a": "x\ud800"}
