"""What health says to which request."""

import json

import pytest

from orchestrator.daemon.health.answers import HEAD_BYTES_MAX, answer_to
from orchestrator.daemon.health.vital_signs import HUNG_S, LOOK_S, VitalSigns

ALIVE, READY = ("/health", "/healthz"), ("/health/ready", "/readyz")


@pytest.fixture
def signs():
    signs = VitalSigns()
    signs.serves(lambda: True)
    return signs


def hung():
    clock = iter(range(1000))
    signs = VitalSigns(lambda: next(clock) * LOOK_S)
    signs.serves(lambda: True)
    for _ in range(int(HUNG_S / LOOK_S) + 4):
        signs.look()
    return signs


def heard(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in lines)
    return int(line.split()[1]), headers, body


def get(path, signs, method="GET", rest="Host: anything.example\r\n"):
    status, headers, body = heard(
        answer_to(f"{method} {path} HTTP/1.1\r\n{rest}\r\n".encode(), signs)
    )
    if method == "HEAD":
        assert body == b""
        return status, headers
    assert int(headers["Content-Length"]) == len(body)
    assert headers["Connection"] == "close"
    return status, json.loads(body)


@pytest.mark.parametrize("path", ALIVE)
def test_alive(path, signs):
    assert get(path, signs) == (200, {"status": "healthy", "service": "model-orchestrator"})


@pytest.mark.parametrize("path", READY)
def test_ready(path, signs):
    assert get(path, signs) == (200, {"status": "ready"})


@pytest.mark.parametrize("path", ALIVE + READY)
def test_head_is_the_head_alone(path, signs):
    _, headers, _ = heard(answer_to(f"GET {path} HTTP/1.1\r\n\r\n".encode(), signs))
    assert get(path, signs, "HEAD") == (200, headers)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /health HTTP/1.0\r\n\r\n",  # HAProxy
        b"GET /health HTTP/1.0\n\n",  # nc
        b"GET /health?probe=1 HTTP/1.1\r\nHost: 10.0.0.7:8001\r\nUser-Agent: kube-probe/1.31\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\nOrigin: http://evil.example\r\n\r\n",
        b"GET /health HTTP/1.1\r\n\r\nGET /health HTTP/1.1\r\n\r\n",  # one answer for each connection
    ],
)
def test_pollers_are_answered_whatever_they_call_us(request_bytes, signs):
    assert heard(answer_to(request_bytes, signs))[0] == 200


def test_no_page_elsewhere_may_read_it(signs):
    _, headers, _ = heard(answer_to(b"GET /health HTTP/1.1\r\nOrigin: http://a\r\n\r\n", signs))
    assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/models/status", "/health/", "/HEALTH", "/health/ready/x"])
def test_there_is_nothing_else(path, signs):
    status, body = get(path, signs)
    assert (status, body["code"]) == (404, "not_found")
    assert body["instance"] == path
    assert "/health" in body["remedy"]


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "DELETE", "BREW"])
def test_other_methods_do_nothing(method, signs):
    status, headers, body = heard(answer_to(f"{method} /health HTTP/1.1\r\n\r\n".encode(), signs))
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert json.loads(body)["code"] == "method_not_allowed"


def test_a_loop_that_hangs_is_said_at_every_path():
    signs = hung()
    for path in ALIVE + READY:
        status, body = get(path, signs)
        assert (status, body["code"]) == (503, "loop_hangs")
        assert "has not turned for" in body["detail"]
        assert body["remedy"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda signs: signs.ends(), "ending"),
        (lambda signs: signs.serves(lambda: False), "cannot do its work"),
    ],
)
def test_not_ready_is_said_without_a_reason_and_it_lives_all_the_same(change, says, signs):
    change(signs)
    status, body = get("/health/ready", signs)
    assert (status, body["code"]) == (503, "not_ready")
    assert says in body["detail"]
    assert "reasons" not in body
    assert get("/health", signs)[0] == 200


def test_one_that_starts_lives_and_is_not_ready():
    signs = VitalSigns()
    assert get("/health", signs)[0] == 200
    assert "starting" in get("/health/ready", signs)[1]["detail"]


@pytest.mark.parametrize(
    "so_far",
    [b"G", b"GET", b"GET /hea", b"GET /health HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost"],
)
def test_the_rest_is_waited_for(so_far, signs):
    assert answer_to(so_far, signs) is None


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01",  # TLS
        b"\n",
        b"\r\n\r\n",
        b"get /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/2.0\r\n\r\n",
        b"GET /health\r\n",
        b"GET  /health HTTP/1.1\r\n\r\n",
        b"GET /he alth HTTP/1.1\r\n\r\n",
        b"\xff" * 100,
        b"A" * 21,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_http_is_told_at_once(nonsense, signs):
    status, _, body = heard(answer_to(nonsense, signs))
    assert (status, json.loads(body)["code"]) == (400, "bad_request")


def test_a_head_has_a_bound(signs):
    begun = b"GET /health HTTP/1.1\r\nX: "
    assert answer_to(begun.ljust(HEAD_BYTES_MAX, b"x"), signs) is None
    status, _, body = heard(answer_to(begun.ljust(HEAD_BYTES_MAX + 1, b"x"), signs))
    assert (status, json.loads(body)["code"]) == (431, "head_too_large")
