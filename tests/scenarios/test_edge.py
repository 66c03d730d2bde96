"""Requests through nginx with its Lua, before the real daemon."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.scenarios.backend import events
from tests.scenarios.daemon import chat, command, model
from tests.scenarios.edged import warmed
from tests.unit.metrics.parts import samples

pytestmark = pytest.mark.nginx

CHAT = "/v1/chat/completions"
BIG = 20000  # two of them do not fit


@pytest.fixture
def daemon(edged, there):
    return edged(
        {
            "ext": {"service": "elsewhere", "vram_mb": 10, "aliases": ["else"]},
            "a": model(BIG, slots=4),
            "b": model(BIG),
        },
        services={
            "elsewhere": there.service(),
            "rehearsal": {"engine": "fake", "runtime": "process"},
        },
    )


def ask(daemon, name, **more):
    return daemon.post(CHAT, {"model": name, **chat(**more)})


def test_routes_survive_daemon_kill(daemon):
    """No warm request is refused while the daemon is dead, and its successor adopts all."""
    warmed(daemon, "a")
    (before,) = daemon.servers("a")
    with daemon.http.stream("POST", CHAT, json={"model": "a", "stream": True, **chat(8)}) as answer:
        pieces = answer.iter_text()
        next(pieces)
        daemon.kill()
        assert [ask(daemon, "a").status_code for _ in range(8)] == [200] * 8
        cold = ask(daemon, "b")
        assert (cold.status_code, cold.json()["code"]) == (503, "unavailable")
        daemon.start()
        daemon.until(lambda now: now["loaded_models"]["a"]["in_flight"] == 1, "counts are adopted")
        assert "".join(pieces).rstrip().endswith("data: [DONE]")
    assert [server.pid for server in daemon.servers("a")] == [before.pid]
    warmed(daemon, "a")


def test_a_swap_waits_for_what_nginx_carries(daemon):
    warmed(daemon, "a")
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(ask, daemon, "a", seconds=2.0)
        time.sleep(0.3)
        other = pool.submit(ask, daemon, "b")
        assert long.result().json()["usage"]["completion_tokens"] == 100
        assert other.result().headers["X-Evicted"] == "a"


def test_an_unload_waits_for_what_nginx_carries_and_force_cuts_it(daemon):
    warmed(daemon, "a")
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(ask, daemon, "a", seconds=2.0)
        time.sleep(0.3)
        busy = daemon.post("/models/unload", {"model": "a", "wait": 0.1})
        assert (busy.status_code, busy.json()["code"]) == (409, "in_use")
        assert daemon.unload("a", force=True)["status"] == "unloaded"
        assert long.result().status_code == 200  # started again by the relay, and asked once more


def test_what_nginx_carries_is_use_like_any_other(edged):
    daemon = edged({"a": model(100, ttl_seconds=1.5)})
    warmed(daemon, "a")
    ends = time.monotonic() + 4
    while time.monotonic() < ends:
        assert ask(daemon, "a").status_code == 200
        time.sleep(0.1)
    assert len(daemon.decisions("load")) == 1
    daemon.until_loaded()


def test_a_dead_server_is_started_again(daemon):
    warmed(daemon, "a")
    (server,) = daemon.servers("a")
    server.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, daemon, "a")
        time.sleep(0.3)
        server.kill()
        assert waiting.result().status_code == 200
    assert len(daemon.decisions("load")) == 2


def test_a_server_that_dies_while_the_daemon_is_dead_is_said_in_words(daemon):
    warmed(daemon, "a")
    daemon.kill()
    (server,) = daemon.servers("a")
    server.kill()
    answer = ask(daemon, "a")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    daemon.start()
    assert ask(daemon, "a").status_code == 200


def test_who_dies_twice_is_an_error_with_its_code(daemon, there):
    warmed(daemon, "ext")
    heard = len(there.heard)
    there.deaths = 10
    answer = ask(daemon, "ext")
    assert (answer.status_code, answer.json()["code"]) == (502, "server_failed")
    # By nginx, and once more by the daemon; each of them takes one death of a connection that was
    # kept from before for its closing.
    assert heard + 2 <= len(there.heard) <= heard + 4


def test_nginx_ended_and_started_again_carries_again(daemon):
    warmed(daemon, "a")
    assert daemon.end_edge() == 0
    with pytest.raises(httpx.TransportError):
        ask(daemon, "a")
    daemon.start_edge()
    warmed(daemon, "a")


def test_routes_survive_nginx_too_while_the_daemon_is_dead(daemon):
    """Those of the daemon's last word: a model that has left before is not among them."""
    warmed(daemon, "b")
    daemon.unload("b")
    warmed(daemon, "a")
    daemon.kill()
    assert daemon.end_edge() == 0
    daemon.start_edge_alone()
    assert [ask(daemon, "a").status_code for _ in range(4)] == [200] * 4
    gone = ask(daemon, "b")
    assert (gone.status_code, gone.json()["code"]) == (503, "unavailable")
    daemon.start()
    warmed(daemon, "a")
    daemon.unload("a")
    assert daemon.servers() == []


def test_routes_of_an_earlier_boot_are_not_believed(daemon):
    warmed(daemon, "a")
    daemon.kill()
    assert daemon.end_edge() == 0
    kept = daemon.folder / "routes"
    said = kept.read_text()
    kept.write_text("another-boot\n" + said.partition("\n")[2])
    daemon.start_edge_alone()
    assert ask(daemon, "a").status_code == 503


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ],
)
def test_a_page_elsewhere_is_told_the_same_by_both(daemon, there, headers):
    warmed(daemon, "ext")
    heard = len(there.heard)
    sent = {"Content-Type": "application/json", **headers}
    answers = [
        http.post(CHAT, content=b'{"model": "ext"}', headers=sent)
        for http in (daemon.http, daemon.beside)
    ]
    assert answers[0].status_code in (403, 415, 421)
    assert answers[0].json() == answers[1].json()
    assert len(there.heard) == heard


def test_too_large_a_body_is_told_the_same_by_both(edged):
    daemon = edged({"a": model(100)}, server={"body_limit_bytes": 100_000})
    warmed(daemon, "a")
    answers = [
        http.post(CHAT, json={"model": "a", "x": "y" * 200_000})
        for http in (daemon.http, daemon.beside)
    ]
    assert [answer.status_code for answer in answers] == [413, 413]
    assert answers[0].json() == answers[1].json()


def test_an_answer_has_the_headers_of_the_relay(daemon, there):
    warmed(daemon, "ext")
    sent, headers = b'{"model": "ext", "x": 1}', {"Content-Type": "application/json"}
    by_edge, by_relay = (
        http.post(CHAT, content=sent, headers=headers) for http in (daemon.http, daemon.beside)
    )
    apart = {"date", "connection", "server"}
    told = [
        {name: value for name, value in answer.headers.items() if name not in apart}
        for answer in (by_edge, by_relay)
    ]
    assert told[0] == told[1]
    first, second = (
        {name.lower(): value for name, value in headers.items()}
        for _, path, headers, body in there.heard
        if (path, body) == (CHAT, sent)
    )
    assert first == second


def test_a_client_that_leaves_ends_the_generation(daemon, there):
    warmed(daemon, "ext")
    there.kind, there.answers = "text/event-stream", events({"delta": "x"}) * 2000
    with daemon.http.stream("POST", CHAT, json={"model": "ext", "stream": True}) as answer:
        next(answer.iter_raw())
    deadline = time.monotonic() + 10
    while not there.cut_off:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_a_section_the_word_says_what_is_missing(tmp_path):
    (tmp_path / "o.yaml").write_text("state_dir: ./state\n")
    code, said = command(tmp_path, "edge", "--config", "o.yaml")
    assert (code, "no section `edge`" in said) == (2, True)


def test_figures_of_what_nginx_carried_are_kept_also_while_the_daemon_is_dead(daemon):
    warmed(daemon, "a")
    daemon.kill()
    headers = {"X-Owner": "me", "X-Priority": "3"}
    sent = {"model": "a", **chat(0.2)}
    assert daemon.http.post(CHAT, json=sent, headers=headers).status_code == 200
    daemon.start()
    deadline = time.monotonic() + 20
    while not (found := daemon.http.get("/requests?owner=me").json()["ended"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (figures,) = found
    assert (figures["model"], figures["client"], figures["priority"]) == ("a", "127.0.0.1", 3)
    assert (figures["outcome"], figures["status"], figures["tokens_out"]) == ("answered", 200, 10)
    assert 0 < figures["first_byte_seconds"] <= figures["total_seconds"]
    assert figures["wait_seconds"] == 0


def test_a_stream_that_nginx_carries_is_shown_and_can_be_ended(daemon, there):
    warmed(daemon, "ext")
    there.kind, there.answers = "text/event-stream", events({"delta": "x"}) * 3000
    with daemon.http.stream("POST", CHAT, json={"model": "else", "stream": True}) as answer:
        text = answer.iter_text()
        next(text)
        deadline = time.monotonic() + 20
        while not (running := daemon.beside.get("/requests").json()["running"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (running[0]["asked"], running[0]["model"]) == ("else", "ext")
        path = f"/requests/{running[0]['id']}/cancel"
        assert daemon.beside.post(path).json()["status"] == "ending"
        pieces = []
        with pytest.raises(httpx.RemoteProtocolError):  # cut behind its last event
            pieces.extend(text)
        assert '"code":"ended"' in pieces[-1]
    while not there.cut_off:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while daemon.beside.get("/requests").json()["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ended = {one["id"]: one for one in daemon.beside.get("/requests").json()["ended"]}
    assert ended[running[0]["id"]]["outcome"] == "ended"


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_a_server_that_dies_in_mid_stream_ends_it_with_an_error_event(daemon, there, path):
    warmed(daemon, "ext")
    there.kind, there.breaks = "text/event-stream", True
    there.answers = events({"delta": "x"}) * 3
    by_edge, by_relay = (
        http.post(path, json={"model": "ext", "stream": True, "messages": []})
        for http in (daemon.http, daemon.beside)
    )
    assert '"code":"server_failed"' in by_edge.text
    assert by_edge.text == by_relay.text


def test_what_nginx_carried_counts_like_any_other(daemon):
    warmed(daemon, "a")
    already = counted(daemon)
    assert [ask(daemon, "a").status_code for _ in range(5)] == [200] * 5
    deadline = time.monotonic() + 20
    while counted(daemon) < already + 5:
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.1)


def counted(daemon):
    """Requests whose first byte was timed: relayed ones at once, nginx's when its lines are read."""
    said = samples(daemon.http.get("/metrics").content)
    count = said["orchestrator_time_to_first_byte_seconds_count", (("model", "a"),)]
    assert count <= said["llamacpp_requests_total", (("model", "a"), ("status", "success"))]
    return count
