"""The gateway: requests that name a model, through the real daemon."""

import json
import os
import random
import signal
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import httpx
import pytest

from tests.pace import crowd
from tests.scenarios.backend import events
from tests.scenarios.daemon import chat, model
from tests.scenarios.edged import EdgedDaemon

CHAT = "/v1/chat/completions"
BIG = 20000  # two of them do not fit


@pytest.fixture
def daemons(planes):
    """Of both planes."""
    return planes


@pytest.fixture
def daemon(daemons, there):
    """One model on a server of somebody else's, and stand-ins beside it."""
    return daemons(
        {
            "ext": {"service": "elsewhere", "vram_mb": 10, "aliases": ["else"]},
            "a": model(BIG),
            "b": model(BIG),
        },
        services={
            "elsewhere": there.service(),
            "rehearsal": {"engine": "fake", "runtime": "process"},
        },
        gateway={"heartbeat_s": 0.2},
    )


def ask(daemon, name, path=CHAT, **more):
    return daemon.post(path, {"model": name, **chat(**more)})


def requests(daemon):
    return daemon.http.get("/requests").json()


def idle(daemon):
    """Once no request is under way: how the last ones ended, newest first."""
    deadline = time.monotonic() + 30
    while (now := requests(daemon))["running"] or any(
        each["in_flight"] or each["busy"] for each in daemon.status()["loaded_models"].values()
    ):
        assert time.monotonic() < deadline, now["running"]
        time.sleep(0.05)
    return now["ended"]


# --- which model -----------------------------------------------------------------------------------


def test_a_request_loads_the_model_that_it_names(daemon):
    answer = ask(daemon, "a", text="hi")
    assert answer.status_code == 200
    assert "You said: hi" in answer.json()["choices"][0]["message"]["content"]
    assert answer.headers["X-Model"] == "a"
    assert int(answer.headers["X-Waited-Ms"]) > 0
    second = ask(daemon, "b")
    assert second.headers["X-Evicted"] == "a"
    assert "X-Waited-Ms" not in ask(daemon, "b").headers


def test_keepalive_switches_model(daemon):
    connection = HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    models = []
    for name in ("a", "else", "b", "a"):
        body = json.dumps({"model": name, **chat()})
        connection.request("POST", CHAT, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        models.append(answer.headers["X-Model"])
    connection.close()
    assert models == ["a", "ext", "b", "a"]


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize("path", [CHAT, "/models/load"])
def test_a_refusal_leaves_its_connection_usable_or_says_that_it_ends(daemon, path, size):
    """The daemon refuses by the head alone, whose body comes later."""
    connection = HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    for _ in range(5):
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", "text/plain")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        time.sleep(0.005)
        connection.send(b" " * size)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 415
        if answer.will_close:
            connection.close()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        assert (answer.status, answer.read() != b"") == (200, True)
    connection.close()


def test_unknown_model_is_openai_404(daemon):
    answer = ask(daemon, "nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")
    answer = daemon.post("/v1/messages", {"model": "nothing", "messages": []})
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "not_found_error"


def test_default_model_tasks_and_chains(daemons):
    daemon = daemons(
        {"big": model(90_000), "small": model(100), "other": model(100)},
        gateway={
            "default_model": "other",
            "tasks": {"quick": "small", "default": "other"},
            "chains": {"best": ["big", "small"]},
        },
    )
    taken = {
        name: ask(daemon, name).headers["X-Model"] for name in ("task:quick", "task:x", "best")
    }
    assert taken == {"task:quick": "small", "task:x": "other", "best": "small"}
    assert daemon.post(CHAT, chat()).headers["X-Model"] == "other"
    listed = {each["id"]: each for each in daemon.http.get("/v1/models").json()["data"]}
    assert {*taken, "task:default"} - {"task:x"} <= set(listed)
    assert listed["best"]["stands_for"] == ["big", "small"]
    assert daemon.http.get("/v1/models/best").json() == listed["best"]


def test_no_get_loads_a_model(daemon):
    for path in ("/props?model=a", "/slots?model=a", "/upstream/a/health"):
        answer = daemon.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert daemon.loaded() == {}
    ask(daemon, "a")
    assert daemon.http.get("/slots?model=a").json()[0]["id"] == 0
    assert daemon.http.get("/upstream/a/health").json() == {"status": "ok"}


def test_a_request_is_served_by_what_another_caller_ordered(daemon):
    """Settings that a load brought stay until a request asks for others."""
    daemon.load("a", context_size=1024)
    (ordered,) = daemon.servers("a")
    for _ in range(2):
        assert ask(daemon, "a").status_code == 200
    assert [server.pid for server in daemon.servers("a")] == [ordered.pid]
    daemon.unload("a")
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(daemon.load, "b", context_size=1024)
        time.sleep(0.05)
        assert ask(daemon, "b").status_code == 200
        loading.result()
    assert len(daemon.decisions("load", "b")) == 1


def test_an_answer_is_asked_on_of_the_model_that_made_it(daemon, there):
    there.answers = [b'{"id": "resp_123", "object": "response"}']
    assert daemon.post("/v1/responses", {"model": "ext", "input": "x"}).status_code == 200
    there.answers = [b"{}"]
    answer = daemon.post("/v1/responses", {"previous_response_id": "resp_123", "input": "y"})
    assert answer.headers["X-Model"] == "ext"
    assert daemon.http.get("/v1/responses/resp_123").headers["X-Model"] == "ext"
    assert daemon.http.delete("/v1/responses/resp_123").status_code == 200
    assert [path for _, path, _, _ in there.heard[-2:]] == ["/v1/responses/resp_123"] * 2
    assert daemon.http.get("/v1/responses/resp_999").status_code == 404


def test_streams_are_gone_on_with_where_they_began(daemon, there):
    headers = {"X-Conversation-Id": "chat-1"}
    daemon.http.post(CHAT, json={"model": "ext", "stream": True}, headers=headers)
    there.answers = [b'[{"conversation_id": "chat-1", "is_done": true}]']
    asked = {"conversation_ids": ["chat-1", "chat-2"]}
    found = daemon.post("/v1/streams/lookup", asked)
    assert found.json() == [{"conversation_id": "chat-1", "is_done": True}]
    assert json.loads(there.heard[-1][3]) == {"conversation_ids": ["chat-1"]}
    assert daemon.http.get("/v1/stream?conv_id=chat-1&from=0").headers["X-Model"] == "ext"
    assert daemon.http.delete("/v1/stream/chat-1").headers["X-Model"] == "ext"
    assert daemon.post("/v1/streams/lookup", {"conversation_ids": "x"}).status_code == 422


@pytest.mark.parametrize(
    ("kind", "answers", "deaths"),
    [
        ("text/html", [b"<p>not here</p>"], 0),
        ("application/json", [b'{"conversation_id": "chat-1"}'], 0),
        ("application/json", [b"[1, 2"], 0),
        ("application/json", [b"[]"], 2),
    ],
)
def test_a_server_that_says_nothing_of_its_streams_leads_none(daemon, there, kind, answers, deaths):
    headers = {"X-Conversation-Id": "chat-1"}
    daemon.http.post(CHAT, json={"model": "ext", "stream": True}, headers=headers)
    there.kind, there.answers, there.deaths = kind, answers, deaths
    found = daemon.post("/v1/streams/lookup", {"conversation_ids": ["chat-1"]})
    assert (found.status_code, found.json()) == (200, [])
    too_many = {"conversation_ids": ["x"] * 1001}
    assert daemon.post("/v1/streams/lookup", too_many).status_code == 422
    idle(daemon)


# --- byte for byte ---------------------------------------------------------------------------------


def test_int64_body_survives(daemon, there):
    body = b'{"model":"ext",\n "seed": 18446744073709551615, "x": 1.10, "y": "\\u00e9\xc3\xa9"}'
    there.answers = []  # the body comes back
    answer = daemon.http.post(
        CHAT,
        content=body,
        headers={"Content-Type": "application/json", "Authorization": "Bearer s"},
    )
    assert answer.content == body
    assert answer.headers["X-Own"] == "kept"
    _, _, headers, sent = there.heard[-1]
    assert sent == body
    assert "Authorization" not in headers


def test_sse_arrives_as_it_is_made(daemon, there):
    text = b"".join(events({"delta": "caf\u00e9"}, {"delta": "x"})) + b"data: [DONE]\n\n"
    there.kind = "text/event-stream"
    there.answers = [bytes([byte]) for byte in text]
    began = time.monotonic()
    with daemon.http.stream("POST", CHAT, json={"model": "ext", "stream": True}) as answer:
        seen = [(time.monotonic() - began, piece) for piece in answer.iter_raw()]
    assert b"".join(piece for _, piece in seen).endswith(text)
    assert len(seen) > len(text) / 4
    assert seen[-1][0] - seen[0][0] > 0.3


def test_a_stream_hears_that_its_model_is_loading(daemons):
    daemon = daemons({"a": model(100, fake={"load_s": 1.2})}, gateway={"heartbeat_s": 0.2})
    with daemon.http.stream("POST", CHAT, json={"model": "a", "stream": True, **chat()}) as answer:
        text = "".join(answer.iter_text())
    comments = [line for line in text.splitlines() if line.startswith(":")]
    assert len(comments) >= 2
    assert "a waits for" in comments[-1]
    assert text.rstrip().endswith("data: [DONE]")


def test_any_method_and_any_body_pass_to_upstream(daemon, there):
    ask(daemon, "ext")
    there.answers = []
    blob = os.urandom(3_000_000)

    def pieces():
        yield blob[:1_000_000]
        yield blob[1_000_000:]

    answer = daemon.http.put(
        "/upstream/else/a/b?c=%20d",
        content=pieces(),
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.content == blob
    method, path, _, _ = there.heard[-1]
    assert (method, path) == ("PUT", "/a/b?c=%20d")


def test_a_form_names_its_model(daemon, there):
    answer = daemon.http.post(
        "/v1/audio/transcriptions",
        data={"model": "ext", "language": "de"},
        files={"file": ("a.wav", os.urandom(200_000))},
    )
    assert (answer.status_code, answer.headers["X-Model"]) == (200, "ext")
    assert len(there.heard[-1][3]) > 200_000


def test_oversized_body_is_413(daemons):
    daemon = daemons({"a": model(100)}, server={"body_limit_bytes": 100_000})
    answer = daemon.post(CHAT, {"model": "a", "x": "y" * 200_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert daemon.loaded() == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/tokenize", "/v1/audio/speech"])
def test_a_page_elsewhere_loads_nothing(daemon, headers, path):
    sent = {"Content-Type": "application/json", **headers}
    answer = daemon.http.post(path, content=b'{"model": "a"}', headers=sent)
    assert answer.status_code in (403, 415, 421)
    assert daemon.loaded() == {}


# --- callers ---------------------------------------------------------------------------------------


def test_burst_on_cold_model_no_spurious_429(daemons):
    daemon = daemons({"a": model(100, fake={"load_s": 1.0}, slots=4)})
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: ask(daemon, "a").status_code, range(100)))
    assert answers == [200] * 100
    assert len(daemon.decisions("load")) == 1


def test_client_disconnect_cancels_generation(daemon, there):
    there.kind = "text/event-stream"
    there.answers = events({"delta": "x"}) * 2000
    with daemon.http.stream("POST", CHAT, json={"model": "ext", "stream": True}) as answer:
        next(answer.iter_raw())
    assert idle(daemon)[0]["outcome"] == "client_gone"
    deadline = time.monotonic() + 10
    while not there.cut_off:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_client_gone_before_first_byte_leaks_no_lease(daemons):
    """Two hundred that hang up at any moment, half of them by a reset."""
    daemon = daemons({"a": model(BIG, slots=2), "b": model(BIG, slots=2)})
    rng = random.Random(7)

    def leave(number):
        body = json.dumps({"model": rng.choice("ab"), "stream": number % 3 == 0, **chat(0.3)})
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        sent = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        with socket.create_connection(("127.0.0.1", daemon.port)) as caller:
            caller.sendall(sent[: rng.choice([len(sent), len(sent), len(sent) - 5])])
            time.sleep(rng.random() * 0.4)
            if number % 2:
                linger = struct.pack("ii", 1, 0)
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(leave, range(200)))
    ended = idle(daemon)
    status = daemon.status()
    assert {each["in_flight"] for each in status["loaded_models"].values()} <= {0}
    assert status["queue"] == []
    assert {each["outcome"] for each in ended} <= {"client_gone", "answered"}
    assert ask(daemon, "a").status_code == ask(daemon, "b").status_code == 200


def test_the_important_are_served_first_and_nobody_is_refused(daemon, there):
    there.answers = [b" "] * 30
    daemon.http.put("/models/one", json={"service": "elsewhere", "vram_mb": 10, "concurrency": 1})
    order = []

    def one(priority):
        answer = daemon.http.post(
            CHAT, json={"model": "one"}, headers={"X-Priority": str(priority)}, timeout=60
        )
        order.append(priority)
        return answer.status_code

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(one, 5)
        while not there.heard:  # it is the only one that the server is sent at once
            time.sleep(0.01)
        rest = []
        for priority in (1, 2, 3, 4):
            rest.append(pool.submit(one, priority))
            time.sleep(0.02)
        assert [each.result() for each in (first, *rest)] == [200] * 5
    assert order == [5, 4, 3, 2, 1]


def test_a_deadline_ends_the_wait(daemons):
    daemon = daemons({"a": model(100, fake={"load_s": 5})})
    began = time.monotonic()
    answer = daemon.http.post(
        CHAT, json={"model": "a", **chat()}, headers={"X-Deadline-Seconds": "0.3"}
    )
    assert (answer.status_code, time.monotonic() - began < 3 * crowd()) == (503, True)
    assert int(answer.headers["Retry-After"]) > 0


def test_an_operator_ends_a_request(daemon, there):
    there.kind = "text/event-stream"
    there.answers = events({"delta": "x"}) * 2000
    with daemon.http.stream("POST", CHAT, json={"model": "ext", "stream": True}) as answer:
        text = answer.iter_text()
        next(text)
        (running,) = httpx.get(f"{daemon.url}/requests", trust_env=False).json()["running"]
        path = f"{daemon.url}/requests/{running['id']}/cancel"
        assert httpx.post(path, trust_env=False).json()["status"] == "ending"
        rest = "".join(text)
    assert '"code":"ended"' in rest
    assert idle(daemon)[0]["outcome"] == "ended"


# --- in use means in use ---------------------------------------------------------------------------


def test_a_stream_is_not_cut_by_a_swap(daemon):
    ask(daemon, "a")
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(ask, daemon, "a", seconds=2.0)
        time.sleep(0.2)
        other = pool.submit(ask, daemon, "b")
        assert long.result().json()["usage"]["completion_tokens"] == 100
        assert other.result().status_code == 200


def test_an_unload_waits_for_a_request_and_force_cuts_it(daemon):
    ask(daemon, "a")
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(ask, daemon, "a", seconds=1.5)
        time.sleep(0.3)
        busy = daemon.post("/models/unload", {"model": "a", "wait": 0.1})
        assert (busy.status_code, busy.json()["code"]) == (409, "in_use")
        assert daemon.unload("a", force=True)["status"] == "unloaded"
        # Started again and asked once more: its client need not know.
        assert long.result().status_code == 200
    assert idle(daemon)[0]["outcome"] == "answered"


def test_warm_requests_are_use_like_any_other(daemons):
    daemon = daemons({"a": model(100, ttl_seconds=1.0)})
    ask(daemon, "a", seconds=2.5)
    assert daemon.loaded() == {"a": "loaded"}
    assert len(daemon.decisions("load")) == 1


# --- servers that die ------------------------------------------------------------------------------


def test_a_server_that_dies_before_it_answers_is_asked_once_more(daemon):
    ask(daemon, "a")
    (server,) = daemon.servers("a")
    server.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, daemon, "a")
        time.sleep(0.2)
        server.kill()
        answer = waiting.result()
    assert answer.status_code == 200
    assert len(daemon.decisions("load")) == 2


def test_who_dies_twice_is_an_error_with_its_code(daemon, there):
    there.deaths = 10
    answer = ask(daemon, "ext")
    assert (answer.status_code, answer.json()["code"]) == (502, "server_failed")
    assert len(there.heard) == 2
    assert idle(daemon)[0]["outcome"] == "refused"


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
def test_a_server_that_dies_in_mid_stream_ends_it_with_an_error_event(daemon, there, path):
    there.kind, there.breaks = "text/event-stream", True
    there.answers = events({"delta": "x"}) * 3
    answer = daemon.post(path, {"model": "ext", "stream": True, "messages": []})
    last = answer.text.rstrip().rpartition("\n\n")[2]
    assert ("event: error" in last) == (path == "/v1/messages")
    assert json.loads(last.partition("data: ")[2])["error"]["code"] == "server_failed"
    assert idle(daemon)[0]["outcome"] == "server_died"


def test_a_broken_answer_is_not_passed_on_as_whole(daemon, there):
    there.breaks = True
    with pytest.raises(httpx.RemoteProtocolError):
        ask(daemon, "ext")
    assert idle(daemon)[0]["outcome"] == "server_died"


# --- ourselves -------------------------------------------------------------------------------------


def test_an_end_of_the_daemon_tells_streams_and_models_go_on(daemon, there):
    there.kind = "text/event-stream"
    there.answers = events({"delta": "x"}) * 2000
    ask(daemon, "a")
    with daemon.http.stream("POST", CHAT, json={"model": "ext", "stream": True}) as answer:
        text = answer.iter_text()
        next(text)
        assert daemon.end() == 0
        assert '"code":"shutting_down"' in "".join(text)
    assert "Traceback" not in daemon.log()
    daemon.start()
    assert "X-Waited-Ms" not in ask(daemon, "a").headers


def test_kill_in_mid_stream_and_the_successor_serves_from_the_same_server(daemon):
    ask(daemon, "a")
    (before,) = daemon.servers("a")
    with daemon.http.stream("POST", CHAT, json={"model": "a", "stream": True, **chat(5)}) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        daemon.kill()
        if isinstance(daemon, EdgedDaemon):
            assert b"".join(pieces).rstrip().endswith(b"data: [DONE]")
        else:
            with pytest.raises(httpx.TransportError):
                list(pieces)
    daemon.start()
    assert ask(daemon, "a").status_code == 200
    assert [server.pid for server in daemon.servers("a")] == [before.pid]


def test_figures_of_every_request_are_kept(daemon):
    answer = daemon.http.post(
        CHAT, json={"model": "a", **chat(0.2)}, headers={"X-Owner": "me", "X-Priority": "7"}
    )
    assert answer.status_code == 200
    (figures, *_) = idle(daemon)
    assert (figures["model"], figures["owner"], figures["priority"]) == ("a", "me", 7)
    assert (figures["outcome"], figures["status"], figures["tokens_out"]) == ("answered", 200, 10)
    assert 0 < figures["load_seconds"] <= figures["wait_seconds"]
    assert figures["wait_seconds"] < figures["first_byte_seconds"] <= figures["total_seconds"]
    time.sleep(1.5)
    daemon.kill()
    daemon.start()
    assert requests(daemon)["ended"][0]["owner"] == "me"
