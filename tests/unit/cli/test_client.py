import socket

import pytest

from orchestrator.cli.client import Answer, NotReached, RefusedByDaemon, Remote, UrlInvalid
from tests.stand_in import stand_in


@pytest.fixture
def daemon():
    with stand_in() as remembered:
        yield remembered


def test_an_answer_is_kept_exactly_as_it_came(daemon):
    daemon.answers["GET /models"] = (200, b'{ "data":[] }')
    assert Remote(daemon.url).ask("GET", "/models") == Answer({"data": []}, '{ "data":[] }')


def test_orders_are_json_and_the_key_goes_along(daemon):
    daemon.answers["POST /models/load"] = {"success": True}
    Remote(daemon.url, "s3cret").ask("POST", "/models/load", {"model": "a"})
    [(_, _, headers, body)] = daemon.asked
    assert body == {"model": "a"}
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer s3cret"


def test_a_daemon_below_a_path_is_found(daemon):
    daemon.answers["GET /gpu/models"] = {}
    assert Remote(f"{daemon.url}/gpu/").ask("GET", "/models").body == {}


def test_a_refusal_keeps_its_body(daemon):
    daemon.answers["GET /x"] = (507, {"code": "does_not_fit", "detail": "Too large."})
    with pytest.raises(RefusedByDaemon) as caught:
        Remote(daemon.url).ask("GET", "/x")
    assert caught.value.status == 507
    assert caught.value.body["code"] == "does_not_fit"


def test_events_come_one_by_one(daemon):
    daemon.answers["GET /events"] = (200, b': ping\n\nid: 1\ndata: {"a": 1}\n\ndata:{"b":2}\n\n')
    assert list(Remote(daemon.url).events("/events")) == [{"a": 1}, {"b": 2}]


def test_events_may_be_refused(daemon):
    daemon.answers["GET /events"] = (503, {"detail": "too many"})
    with pytest.raises(RefusedByDaemon):
        list(Remote(daemon.url).events("/events"))


@pytest.mark.parametrize("text", [b"<html>", b"[1]", b"", b"\xff"])
def test_somebody_else_on_that_port_is_told_apart(daemon, text):
    daemon.answers["GET /models"] = (200, text)
    with pytest.raises(NotReached, match="is not VRAM Orchestrator"):
        Remote(daemon.url).ask("GET", "/models")


def test_no_daemon_names_the_way_to_start_one():
    with socket.socket() as taken:  # bound, not listening: nobody else can take the port meanwhile
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(NotReached) as caught:
            Remote(f"http://127.0.0.1:{taken.getsockname()[1]}").ask("GET", "/models")
    assert "orchestrator serve" in caught.value.remedy


def test_silence_has_an_end():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = Remote(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(NotReached, match="did not answer"):
            remote.ask("GET", "/models", timeout_s=0.1)


def test_a_key_that_no_header_can_carry_is_no_traceback(daemon):
    with pytest.raises(NotReached):
        Remote(daemon.url, "клюй").ask("GET", "/models")


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://a", "http://", "http://a:b", "http://[", "http://a b"]
)
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(UrlInvalid):
        Remote(url)
