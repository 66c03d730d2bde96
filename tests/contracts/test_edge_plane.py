"""The plane that is a real nginx: what it carries, what it counts, and what it lives through."""

import json
import os
import random
import signal
import socket
import socketserver
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread

import httpx
import pytest

from tests.contracts.edge_plane_parts import edge_alone
from tests.contracts.edge_plane_stand_in import daemon_at
from tests.scenarios.backend import backend, events

pytestmark = pytest.mark.nginx

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def nginx():
    with edge_alone() as edge:
        yield edge


@pytest.fixture
def there():
    with backend() as server:
        yield server


@pytest.fixture
def edge(nginx, there):
    nginx.publish(nginx.published(there.url, aliases=("else",)))
    with daemon_at(nginx) as daemon:
        nginx.daemon = daemon
        yield nginx


# --- what it carries ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "else"])
def test_a_ready_model_is_asked_without_the_daemon(edge, there, name):
    answer = edge.post(CHAT, {"messages": [{"model": "b"}], "model": name})
    assert (answer.json(), answer.headers["X-Model"]) == ({"ok": True}, "a")
    assert answer.headers["X-Own"] == "kept"
    assert edge.daemon.heard == []
    assert there.heard[-1][:2] == ("POST", CHAT)


BODIES = {
    "first": (b'{"model":"a","x":1}', True),
    "last": (b'{"messages":[{"model":"b","x":"}\\"]"}], "model" : "a" }', True),
    "behind escapes": (b'{"x":"\\\\\\"\\\\","y":"\\u0022model\\u0022","model":"a"}', True),
    "twice": (b'{"model":"b","model":"a"}', True),
    "twice, the last one unknown": (b'{"model":"a","model":"b"}', False),
    "within only": (b'{"x":{"model":"a"}}', False),
    "in a text only": (b'{"x":"\\"model\\":\\"a\\""}', False),
    "as a value": (b'{"x":"model","y":"a"}', False),
    "no string": (b'{"model":["a"]}', False),
    "with escapes": (b'{"model":"\\u0061"}', False),
    "named with escapes": (b'{"mod\\u0065l":"b","model":"a","z":1}', False),
    "twice, with escapes at last": (b'{"model":"a","\\u006dodel":"b"}', False),
    "twice, with escapes far behind": (b'{"x":1,"model":"a","y":"z","mode\\u006C":"b"}', False),
    "letters with escapes in a text": (b'{"model":"a","x":"\\u006dodel"}', True),
    "a list": (b'["model","a"]', False),
    "cut off": (b'{"x": "', False),
    "broken behind its model": (b'{"model":"a","x":}', True),
    "empty": (b"", False),
    "in the dark": (b'\xef\xbb\xbf{"model":"a"}', False),
}


@pytest.mark.parametrize(("body", "warm"), BODIES.values(), ids=BODIES)
def test_the_model_is_that_of_the_outermost_object(edge, body, warm):
    answer = httpx.post(edge.url + CHAT, content=body, headers=JSON, trust_env=False)
    assert (answer.json() == {"ok": True}) is warm
    assert [sent for _, _, sent in edge.daemon.heard] == ([] if warm else [body])


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("size", [900_000, 3_000_000, 11_000_000])
def test_large_bodies_pass_byte_for_byte(edge, there, size, before):
    there.answers = []  # the body comes back
    picture = b'"image": "' + bytes(random.Random(1).choices(b"abcdef+/=", k=size)) + b'\\""'
    named = b'"model": "a"'
    body = b"{" + b",".join((named, picture) if before else (picture, named)) + b"}"
    answer = httpx.post(edge.url + CHAT, content=body, headers=JSON, timeout=60, trust_env=False)
    assert answer.headers["X-Model"] == "a"
    assert answer.content == body


def test_a_body_in_pieces_passes(edge, there):
    there.answers = []
    body = b'{"x": "' + b"y" * 200_000 + b'", "model": "a"}'
    pieces = (body[at : at + 7000] for at in range(0, len(body), 7000))
    answer = httpx.post(edge.url + CHAT, content=pieces, headers=JSON, trust_env=False)
    assert (answer.content, answer.headers["X-Model"]) == (body, "a")


def test_what_is_said_to_servers_is_what_the_relay_says(edge, there):
    headers = {
        "Authorization": "Bearer s",
        "X-Api-Key": "k",
        "Cookie": "c",
        "X-Owner": "me",
        "X-Priority": "3",
        "X-Custom": "kept",
    }
    edge.post(f"{CHAT}?x=%20y", {"model": "a"}, headers=headers)
    _, path, sent, _ = there.heard[-1]
    assert path == f"{CHAT}?x=%20y"
    assert sent["X-Custom"] == "kept"
    assert sent["Host"] == there.url.removeprefix("http://")
    assert not {"Authorization", "X-Api-Key", "Cookie", "X-Owner", "X-Priority"} & {*sent}


ASKED = {
    "unknown": (CHAT, {"model": "b"}, {}),
    "a deadline": (CHAT, {"model": "a"}, {"X-Deadline-Seconds": "5"}),
    "a conversation": (CHAT, {"model": "a"}, {"X-Conversation-Id": "c"}),
    "more important": (CHAT, {"model": "a"}, {"X-Priority": "6"}),
    "no priority": (CHAT, {"model": "a"}, {"X-Priority": "high"}),
    "remembered": ("/v1/responses", {"model": "a"}, {}),
    "an order": ("/models/load", {"model": "a"}, {}),
    "another host": (CHAT, {"model": "a"}, {"Host": "evil.example"}),
    "another page": (CHAT, {"model": "a"}, {"Origin": "http://evil.example"}),
    "another site": (CHAT, {"model": "a"}, {"Sec-Fetch-Site": "cross-site"}),
    "no JSON": (CHAT, {"model": "a"}, {"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize(("path", "body", "headers"), ASKED.values(), ids=ASKED)
def test_all_else_is_asked_of_the_daemon_as_it_is(edge, there, path, body, headers):
    answer = edge.post(path, body, headers=headers)
    assert answer.json() == {"by": "daemon"}
    ((asked, said, sent),) = edge.daemon.heard
    assert (asked, json.loads(sent)) == (path, body)
    assert said["X-Edge-Client"] == "127.0.0.1"
    assert "X-Edge-Tried" not in said
    assert {name: said[name] for name in headers} == headers
    assert there.heard == []


@pytest.mark.parametrize("host", ["own.example", "OWN.example:80", "box", "x.local", "[::1]:7"])
def test_by_its_own_names_it_is_asked(edge, host):
    assert edge.post(CHAT, {"model": "a"}, headers={"Host": host}).json() == {"ok": True}


def test_what_may_not_fit_is_looked_at_by_the_daemon(edge, there):
    edge.publish(edge.published(there.url, pictures=False, bytes_max=100, embeds=False))
    assert edge.post(CHAT, {"model": "a", "x": "y"}).json() == {"ok": True}
    for path, body in (
        (CHAT, {"model": "a", "x": "y" * 100}),
        (CHAT, {"model": "a", "type": "image_url"}),
        ("/v1/embeddings", {"model": "a"}),
    ):
        assert (path, edge.post(path, body).json()) == (path, {"by": "daemon"})


def test_a_picture_by_an_address_is_looked_at_by_the_daemon(edge, there):
    """However its words are hidden; a text that speaks of one is carried."""
    edge.publish(edge.published(there.url, "eyes", pictures=True, bytes_max=1000))
    body = b'{"model":"eyes","x":[{"type":"image_url","image_url":{"url":"%s"}}]}'
    hidden = (b"image_url", b"image\\u005furl"), (b"ima", b"\\u0069ma"), (b"http", b"h\\u0074tp")
    for sent in (body % b"http://x/", *((body % b"http://x/").replace(*one) for one in hidden)):
        answer = httpx.post(edge.url + CHAT, content=sent, headers=JSON, trust_env=False)
        assert (sent, answer.json()) == (sent, {"by": "daemon"})
    for sent in (body % b"data:,", b'{"model":"eyes","x":"http://x/"}'):
        answer = httpx.post(edge.url + CHAT, content=sent, headers=JSON, trust_env=False)
        assert (sent, answer.json()) == (sent, {"ok": True})


def test_too_large_a_body_is_refused_by_the_daemon_and_not_sent_to_it(edge):
    answer = httpx.post(
        edge.url + CHAT, content=b"x" * (41 << 20), headers=JSON, timeout=60, trust_env=False
    )
    assert answer.json() == {"by": "daemon"}
    ((_, said, sent),) = edge.daemon.heard
    assert (said["Content-Length"], sent) == ("999999999999", b"")


def test_a_stream_arrives_as_it_is_made(edge, there):
    there.kind, there.answers = "text/event-stream", events({"delta": "x"}) * 30
    began, seen = time.monotonic(), []
    with httpx.stream("POST", edge.url + CHAT, json={"model": "a"}, trust_env=False) as answer:
        seen = [(time.monotonic() - began, piece) for piece in answer.iter_raw()]
    assert b"".join(piece for _, piece in seen) == b"".join(there.answers)
    assert len(seen) > 2, "in pieces, however many of them a busy machine takes together"
    assert seen[-1][0] - seen[0][0] > 0.1


# --- what it counts ----------------------------------------------------------------------------


def test_what_passes_is_counted_and_told_as_use(edge, there):
    there.answers = [b" "] * 50
    edge.loop.do(edge.plane.counted(["a-1"]))
    edge.used.clear()
    with ThreadPoolExecutor(4) as pool:
        under_way = [pool.submit(edge.post, CHAT, {"model": "a"}) for _ in range(4)]
        edge.until_passing(4)
        assert edge.plane.last_counted("a-1") == 4
        assert {one.result().status_code for one in under_way} == {200}
    edge.until_passing(0)
    assert set(edge.used) == {"a-1"}


def test_no_count_is_left_by_clients_that_leave_at_any_moment(edge, there):
    there.kind, there.answers = "text/event-stream", events({"delta": "x"}) * 30
    rng = random.Random(3)
    body = b'{"model": "a", "messages": []}'
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
    sent = head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def leave(number):
        with socket.create_connection(("127.0.0.1", edge.settings.port)) as caller:
            caller.sendall(sent[: rng.choice([len(sent), len(sent), len(sent) - 5])])
            time.sleep(rng.random() * 0.3)
            if number % 2:
                linger = struct.pack("ii", 1, 0)
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(leave, range(300)))
    edge.until_passing(0)


@contextmanager
def hurried_server():
    """Answers one question on a connection, and hangs up when it has read a second one: what a
    caller meets who writes on a kept connection in the moment when its server closes it.
    """
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    hung_up = []

    class Hurried(socketserver.BaseRequestHandler):
        def handle(self):
            if self.request.recv(65536):
                self.request.sendall(answer)
            if self.request.recv(65536):
                hung_up.append(self.client_address)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Hurried) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", hung_up
        finally:
            server.shutdown()


def test_a_kept_connection_that_its_server_closes_costs_nobody_an_answer(edge):
    """Also while there is no daemon to be asked: the route stays open, and the server is up."""
    with hurried_server() as (url, hung_up):
        edge.publish(edge.published(url))
        answers = [edge.post(CHAT, {"model": "a"}) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [200] * 12
    assert {answer.headers.get("X-Model") for answer in answers} == {"a"}
    assert hung_up
    edge.until_passing(0)


def test_a_worker_that_is_killed_takes_its_counts_along(edge, there):
    there.answers = [b" "] * 500
    with ThreadPoolExecutor(8) as pool:
        under_way = [pool.submit(edge.post, CHAT, {"model": "a"}) for _ in range(8)]
        edge.until_passing(8)
        for worker in edge.workers():
            os.kill(worker, signal.SIGKILL)
        edge.until_passing(0)
        assert all(isinstance(one.exception(), httpx.TransportError) for one in under_way)
    assert edge.post(CHAT, {"model": "a"}).headers["X-Model"] == "a"


def test_a_closing_that_was_told_holds_for_all_that_are_not_counted(edge, there):
    """What is not in the counts after a close is asked of the daemon."""
    for _ in range(20):
        edge.publish(edge.published(there.url))
        with ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(edge.post, CHAT, {"model": "a"}) for _ in range(16)]
            edge.publish()
            passing, heard = edge.told_counts()["a-1"], len(there.heard)
            for one in asked:
                one.result()
        assert len(there.heard) <= heard + passing


# --- what it lives through ---------------------------------------------------------------------


def test_a_dead_server_is_asked_for_at_the_daemon(edge, there):
    there.deaths = 1
    answer = edge.post(CHAT, {"model": "a", "n": 1})
    assert answer.json() == {"by": "daemon"}
    ((path, said, sent),) = edge.daemon.heard
    assert (path, said["X-Edge-Tried"], json.loads(sent)) == (CHAT, "1", {"model": "a", "n": 1})
    assert "X-Model" not in answer.headers
    edge.until_passing(0)
    assert edge.post(CHAT, {"model": "a"}).json() == {"by": "daemon"}
    edge.publish(edge.published(there.url))
    assert edge.post(CHAT, {"model": "a"}).json() == {"ok": True}


def test_a_large_body_is_at_hand_for_the_daemon_when_a_server_is_dead(edge, there):
    there.deaths = 1
    body = b'{"x": "' + b"y" * 2_000_000 + b'", "model": "a"}'
    httpx.post(edge.url + CHAT, content=body, headers=JSON, trust_env=False)
    assert edge.daemon.heard[-1][2] == body


def test_no_server_there_is_no_failure_of_the_request(edge):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    edge.publish(edge.published(f"http://127.0.0.1:{port}"))
    assert edge.post(CHAT, {"model": "a"}).json() == {"by": "daemon"}
    edge.until_passing(0)


def test_routes_outlive_the_daemon_and_a_successor_adopts_routes_and_counts(edge, there):
    there.answers = [b" "] * 100
    with ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(edge.post, CHAT, {"model": "a"})
        edge.until_passing(1)
        edge.plane = edge.successor("two")
        edge.publish(edge.published(there.url, number=1))
        assert edge.counts() == {"a-1": 1}
        assert under_way.result().status_code == 200
    there.answers = [b"{}"]
    assert edge.post(CHAT, {"model": "a"}).headers["X-Model"] == "a"


def test_the_first_request_of_a_worker_is_judged_by_what_was_published_since_it_began(there):
    with edge_alone() as edge:
        edge.publish(edge.published(there.url))
        answer = edge.post(CHAT, {"model": "a"}, headers={"Host": "own.example"})
        assert answer.json() == {"ok": True}, "there is no daemon that could be asked"


def test_nginx_started_anew_is_told_again(there):
    with edge_alone() as edge:
        edge.publish(edge.published(there.url))
        keeping = edge.loop.begin(edge.plane.keep_up())
        edge.nginx.end()
        assert edge.counts() == {"a-1": 0}
        edge.nginx = edge.start()
        deadline = time.monotonic() + 10
        while edge.post(CHAT, {"model": "a"}).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        edge.loop.call(keeping.cancel)


def test_a_reload_keeps_routes_and_what_is_under_way(edge, there):
    there.answers = [b" "] * 150
    with ThreadPoolExecutor(2) as pool:
        under_way = pool.submit(edge.post, CHAT, {"model": "a"})
        edge.until_passing(1)
        before = edge.workers()
        edge.nginx.reload()
        deadline = time.monotonic() + 10
        while set(edge.workers()) <= set(before):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert edge.counts() == {"a-1": 1}
        assert under_way.result().content == b" " * 150
    there.answers = [b"{}"]
    assert edge.post(CHAT, {"model": "a"}).headers["X-Model"] == "a"
    edge.until_passing(0)


def test_without_a_daemon_it_says_so(there):
    with edge_alone() as edge:
        edge.publish(edge.published(there.url))
        assert edge.post(CHAT, {"model": "a"}).status_code == 200
        answer = edge.post("/models/load", {"model": "b"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (answer.json()["instance"], answer.headers["Retry-After"]) == ("/models/load", "5")


def test_one_that_was_left_behind_is_taken_over(there):
    with edge_alone() as edge:
        edge.publish(edge.published(there.url))
        other = edge.start()
        assert other.pid == edge.nginx.pid
        assert edge.post(CHAT, {"model": "a"}).status_code == 200


def test_figures_that_no_daemon_takes_over_are_bounded(nginx, monkeypatch):
    monkeypatch.setattr("orchestrator.gateway.edge.child.FIGURES_BYTES_MAX", 5)
    log = nginx.directory / "figures.log"
    log.write_bytes(b"12345")
    assert not nginx.nginx.forget_figures()
    log.write_bytes(b"123456")
    assert nginx.nginx.forget_figures()
    assert log.read_bytes() == b""
