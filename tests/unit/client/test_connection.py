import httpx

from orchestrator.client import connection
from orchestrator.client.connection import headers, no_reply, reply_of, timeout, too_long
from orchestrator.client.exchanges import Ask

URL = "http://127.0.0.1:9"


def test_a_key_and_what_is_wanted_go_along():
    ask = Ask(method="GET", path="/x", headers={"X-Owner": "me"})
    assert dict(headers(ask, None)) == {"accept": "application/json", "x-owner": "me"}
    assert headers(ask, "k")["Authorization"] == "Bearer k"
    assert headers(Ask(method="POST", path="/x", streamed=True), None)["Accept"] == (
        "text/event-stream"
    )
    named = Ask(method="GET", path="/x", headers={"X-Owner": "Büro"})
    assert (b"X-Owner", "Büro".encode()) in headers(named, None).raw


def test_a_connection_is_waited_for_shortly():
    assert timeout(Ask(method="GET", path="/", timeout_s=900)).connect == connection.CONNECT_S
    assert timeout(Ask(method="GET", path="/", timeout_s=0.1)).connect == 0.1
    assert timeout(Ask(method="GET", path="/", timeout_s=900)).read == 900


def test_names_of_headers_are_small():
    response = httpx.Response(200, headers={"Retry-After": "5"})
    assert reply_of(response, b"", 1.5).headers["retry-after"] == "5"


def test_an_endless_body_is_given_up(monkeypatch):
    monkeypatch.setattr(connection, "ANSWER_BYTES_MAX", 3)
    assert too_long(URL, bytearray(b"abc"), 1) is None
    assert "more than 3 bytes" in too_long(URL, bytearray(b"abcd"), 1).detail


def test_failures_are_told_apart():
    silent = no_reply(URL, httpx.ReadTimeout(""), 30, 30)
    assert silent.timed_out
    assert "within 30 s" in silent.detail
    away = no_reply(URL, httpx.ConnectError("refused"), 30, 0)
    assert not away.timed_out
    assert away.detail == f"Nothing answers at {URL}."
    assert (
        "broke off: RemoteProtocolError"
        in no_reply(URL, httpx.RemoteProtocolError(""), 30, 0).detail
    )
