"""The edge: names, TLS, streams, large bodies, the rate limit, and failures that stay failures.

A real nginx before a real daemon and its stand-in model server.
"""

import json
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPResponse
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.contracts.edge_parts import EDGE, LLAMA, ORCHESTRATOR, Edge, edge_and_daemon
from tests.pace import crowd
from tests.scenarios.daemon import chat
from tests.scenarios.test_keys import bearer, keys

pytestmark = pytest.mark.nginx

NOT_COUNTED = {"RATE_LIMIT_MAX_REQUESTS": "0"}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with edge_and_daemon(tmp_path_factory.mktemp("edge"), **NOT_COUNTED) as each:
        yield each


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    """A failure in the one error body, whoever says it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["status"], body["code"], body["error"]["code"]) == (status, code, code)
    assert {"type", "title", "detail", "instance", "remedy"} <= body.keys()
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) == body["retry_after_seconds"] >= 1
    return body


# --- names ---------------------------------------------------------------------------------------


def test_orchestrator_lan_is_the_daemon(front):
    status = front.ask(ORCHESTRATOR, "GET", "/models/status")
    assert status.status_code == 200
    assert status.json()["loaded_models"]["a"]["status"] == "loaded"
    assert front.post("/models/load", {"model": "a"}).json()["already_loaded"] is True


def test_llama_lan_is_the_model_server(front):
    answer = front.ask(LLAMA, "POST", "/v1/chat/completions", json=chat(0.1, text="through"))
    assert "You said: through" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("name", ["rebound.example", "orchestrator.lan.example", "localhost"])
def test_name_that_is_not_ours_is_refused(front, name):
    """Where a web page's own name has been pointed at us."""
    with front.client(ORCHESTRATOR) as client:  # TLS as with our name, then another Host
        refused(client.get("/models/status", headers={"Host": name}), 421, "bad_host")
    url = f"http://127.0.0.1:{front.plain_port}/models/status"
    refused(httpx.get(url, headers={"Host": name}, trust_env=False), 421, "bad_host")


def test_daemon_still_refuses_pages_of_others(front):
    foreign = {"Origin": "https://elsewhere.example"}
    refused(front.post("/models/load", {"model": "a"}, headers=foreign), 403, "bad_origin")
    ours = {"Origin": f"https://{ORCHESTRATOR}", "Sec-Fetch-Site": "same-origin"}
    assert front.post("/models/load", {"model": "a"}, headers=ours).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_model_server_is_not_for_pages_of_others(front, headers):
    answer = front.ask(LLAMA, "POST", "/v1/chat/completions", json=chat(0.1), headers=headers)
    refused(answer, 403, "bad_origin")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/lora-adapters"),
        ("POST", "/%6Cora-adapters"),
        ("POST", "//lora-adapters"),
        ("POST", "/slots/0?action=erase"),
        ("POST", "/models/load"),
        ("POST", "/tools"),
        ("GET", "/cors-proxy?url=http://model-orchestrator:8000/"),
        ("DELETE", "/models"),
        ("PUT", "/v1/chat/completions"),
    ],
)
def test_nobody_changes_the_model_server_by_a_name_that_asks_for_no_key(front, method, path):
    told = refused(front.ask(LLAMA, method, path, json=[]), 403, "forbidden")
    assert "orchestrator.lan/upstream" in told["remedy"]
    assert front.ask(LLAMA, "GET", "/metrics").status_code == 200
    assert front.ask(LLAMA, "GET", "/lora-adapters").status_code == 404, "it has none"


def test_plain_http_is_sent_to_tls_with_method_and_body(front):
    answer = httpx.post(
        f"http://127.0.0.1:{front.plain_port}/models/load?x=1",
        headers={"Host": ORCHESTRATOR},
        json={"model": "a"},
        trust_env=False,
    )
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://{ORCHESTRATOR}/models/load?x=1"


def test_http2_is_spoken(front):
    done = subprocess.run(
        [
            *("curl", "--silent", "--http2", "--cacert", str(front.directory / "cert.pem")),
            *("--resolve", f"{ORCHESTRATOR}:{front.port}:127.0.0.1"),
            *("--write-out", "%{http_version} %{http_code}", "--output", "/dev/null"),
            *("--json", '{"model": "a"}'),
            f"https://{ORCHESTRATOR}:{front.port}/models/plan",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2 200"


# --- long, large, bit by bit ---------------------------------------------------------------------


def test_time_outs_are_longer_than_a_load():
    """300 s is what n8n waits; the daemon waits up to 3600 s where it is asked to."""
    text = (EDGE / "nginx.conf").read_text()
    (read_s,) = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(read_s) > 3600


def test_cold_load_passes(front):
    loaded = front.post("/models/load", {"model": "slow"})
    assert loaded.json()["status"] == "loaded"
    assert loaded.json()["waited_seconds"] >= 2
    front.daemon.unload("slow")


def test_tokens_arrive_as_they_are_made(front):
    arrivals = []
    with front.client(LLAMA) as client:
        wish = chat(1.0, stream=True)
        with client.stream("POST", "/v1/chat/completions", json=wish) as stream:
            assert stream.status_code == 200
            arrivals = [time.monotonic() for line in stream.iter_lines() if line]
    assert len(arrivals) >= 50
    assert arrivals[-1] - arrivals[0] >= 0.7, "they were made over a second"
    gaps = [after - before for before, after in pairwise(arrivals)]
    assert max(gaps) < 0.4, "and did not come in heaps"


def test_events_arrive_as_they_happen(front):
    with front.client(ORCHESTRATOR) as client:
        accept = {"Accept": "text/event-stream"}
        with client.stream("GET", "/events", headers=accept) as stream:
            assert "text/event-stream" in stream.headers["content-type"]
            lines = stream.iter_lines()
            assert next(lines)
            front.daemon.device(foreign_mb=1)
            began = time.monotonic()
            assert any('"foreign_mb":1' in line for line in lines)
            assert time.monotonic() - began < 3 * crowd()
    front.daemon.device(foreign_mb=0)


def test_picture_of_eight_megabytes_passes(front):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (8 << 20)}}
    words = {"type": "text", "text": "what is this"}
    wish = {"messages": [{"role": "user", "content": [words, part]}], "max_tokens": 5}
    answer = front.ask(LLAMA, "POST", "/v1/chat/completions", json=wish)
    assert "what is this" in answer.json()["choices"][0]["message"]["content"]


def test_too_large_is_said_in_json(front):
    order = front.post("/models/load", {"model": "a" * (2 << 20)})
    assert refused(order, 413, "too_large")["limit_bytes"] == 1 << 20, "the daemon's own words"
    beyond = front.ask(LLAMA, "POST", "/v1/chat/completions", content=b"x" * (65 << 20))
    refused(beyond, 413, "too_large")


# --- models that are ready -----------------------------------------------------------------------


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Edge]:
    """With a daemon that knows of it."""
    with edge_and_daemon(tmp_path, is_told=True, RATE_LIMIT_MAX_REQUESTS="1") as front:
        until_carried(front)
        yield front


def ask_warm(front: Edge, path: str = "/v1/chat/completions", **more: object) -> httpx.Response:
    return front.post(path, {"model": "a", **chat(0.05), **more})


def until_carried(front: Edge) -> None:
    """nginx says the model in its own manner, and last."""
    deadline = time.monotonic() + 20
    while ask_warm(front).headers.raw[-1][0] != b"X-Model":
        assert time.monotonic() < deadline, front.daemon.log()
        time.sleep(0.05)


def test_a_ready_model_answers_while_the_daemon_is_dead(warm):
    warm.daemon.kill()
    for _ in range(5):
        assert ask_warm(warm).json()["choices"][0]["message"]["content"]
    told = warm.post("/tokenize", {"model": "a", "content": "x"})
    assert told.status_code == 200, "work for a model is no change that is counted"
    refused(warm.post("/models/load", {"model": "a"}), 503, "unavailable")
    refused(warm.post("/v1/chat/completions", {"model": "b", **chat()}), 503, "unavailable")
    warm.daemon.servers("a")[0].kill()
    refused(ask_warm(warm), 503, "unavailable")
    warm.daemon.start()
    until_carried(warm)


def test_keys_hold_also_while_the_daemon_is_dead(warm):
    made = keys(warm.daemon, "create", "ci", "--scope", "use")
    body, shown = {"model": "a", **chat(0.05)}, bearer(made)
    path = "/v1/chat/completions"
    deadline = time.monotonic() + 20
    while warm.post(path, body).status_code != 401:
        assert time.monotonic() < deadline, warm.daemon.log()
    assert warm.post(path, body, headers=shown).headers.raw[-1][0] == b"X-Model"
    warm.daemon.kill()
    assert warm.post(path, body, headers=shown).status_code == 200
    refused(warm.post(path, body), 401, "unauthorized")
    refused(warm.post("/models/load", body, headers=shown), 503, "unavailable")
    file = warm.directory / "keys"
    assert file.stat().st_mode & 0o777 == 0o640
    for log in warm.directory.glob("*.log"):
        assert made["key"] not in log.read_text()


def test_a_ready_model_is_asked_by_http_2(warm):
    heard = warm.daemon.log()
    done = subprocess.run(
        [
            *("curl", "--silent", "--http2", "--cacert", str(warm.directory / "cert.pem")),
            *("--resolve", f"{ORCHESTRATOR}:{warm.port}:127.0.0.1"),
            *("--write-out", "%{http_version} %header{x-model}", "--output", "/dev/null"),
            *("--json", json.dumps({"model": "a", **chat(0.05)})),
            f"https://{ORCHESTRATOR}:{warm.port}/v1/chat/completions",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2 a", heard


def test_a_body_beyond_what_the_daemon_takes_is_refused_by_it(warm):
    answer = ask_warm(warm, x="y" * (33 << 20))
    assert refused(answer, 413, "too_large")["limit_bytes"] == 32 << 20


def test_a_page_of_others_may_not_ask_a_ready_model(warm):
    foreign = {"Origin": "https://elsewhere.example"}
    answer = warm.post("/v1/chat/completions", {"model": "a"}, headers=foreign)
    refused(answer, 403, "bad_origin")


def test_figures_that_no_daemon_takes_over_are_bounded(tmp_path):
    (tmp_path / "edge").mkdir()
    figures = tmp_path / "edge" / "figures.log"
    with figures.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with edge_and_daemon(tmp_path, **NOT_COUNTED):
        deadline = time.monotonic() + 20
        while figures.stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.05)


# --- the rate limit ------------------------------------------------------------------------------


def test_sixty_changes_a_minute_and_what_is_not_counted(tmp_path):
    with edge_and_daemon(tmp_path) as front, front.client(ORCHESTRATOR) as client:

        def change() -> httpx.Response:
            return client.post("/models/unload", json={"model": "nobody"})

        for path in ("/health", "/health/ready", "/models/status") * 30:
            assert client.get(path).status_code == 200
        for _ in range(10):
            assert client.post("/models/plan", json={"model": "a"}).status_code == 200
        codes = [change().status_code for _ in range(61)]
        assert codes == [404] * 60 + [429]
        body = refused(change(), 429, "rate_limited")
        assert 1 <= body["retry_after_seconds"] <= 60
        assert body["error"]["type"] == "rate_limit_error"
        assert client.get("/models/status").status_code == 200, "looking is never limited"
        other = front.post("/models/unload", {"model": "nobody"}, source="127.0.0.2")
        assert other.status_code == 404, "another client has its own count"


def test_rate_limit_is_what_the_environment_says(tmp_path):
    settings = {"RATE_LIMIT_MAX_REQUESTS": "3", "RATE_LIMIT_WINDOW": "1500"}
    with edge_and_daemon(tmp_path, **settings) as front:

        def change(_: object = None) -> httpx.Response:
            return front.post("/models/unload", {"model": "nobody"})

        with ThreadPoolExecutor(8) as pool:
            codes = sorted(each.status_code for each in pool.map(change, range(8)))
        assert codes == [404] * 3 + [429] * 5
        time.sleep(float(change().headers["retry-after"]))
        assert change().status_code == 404, "after what Retry-After said"


def test_setting_that_makes_no_sense_keeps_it_from_starting(tmp_path):
    with (
        pytest.raises(AssertionError, match="RATE_LIMIT_WINDOW must be"),
        edge_and_daemon(tmp_path, RATE_LIMIT_WINDOW="a minute"),
    ):
        pass


# --- failures ------------------------------------------------------------------------------------


def test_failures_pass_as_they_are(front):
    assert front.post("/models/load", {"model": "nobody"}).json()["code"] == "unknown_model"
    assert front.post("/models/load", {"modle": "a"}).status_code == 422
    assert front.ask(LLAMA, "POST", "/v1/chat/completions", json={}).status_code == 400
    assert front.ask(ORCHESTRATOR, "GET", "/nothing").status_code == 404


def test_nobody_there_is_503_never_200(tmp_path):
    with edge_and_daemon(tmp_path) as front:
        with front.client(LLAMA) as client:
            wish = chat(20, stream=True)
            with client.stream("POST", "/v1/chat/completions", json=wish) as stream:
                lines = stream.iter_lines()
                assert next(lines)
                front.daemon.servers("a")[0].kill()
                with pytest.raises(httpx.RemoteProtocolError):  # cut off, and not at its end
                    list(lines)
        refused(front.ask(LLAMA, "POST", "/v1/chat/completions", json=chat()), 503, "unavailable")
        front.daemon.kill()
        for method, path, words in (
            ("GET", "/models/status", "Asking again is safe."),
            ("POST", "/models/load", "a load that is under way is joined"),
            ("POST", "/vram/leases", "look at GET /vram/leases before you ask again"),
            ("DELETE", "/models/a", "look before you ask again"),
        ):
            body = refused(front.ask(ORCHESTRATOR, method, path, json={}), 503, "unavailable")
            assert words in str(body["remedy"])
        wants_problem = {"Accept": "application/problem+json"}
        problem = front.ask(ORCHESTRATOR, "GET", "/health", headers=wants_problem)
        assert problem.headers["content-type"] == "application/problem+json"


LONG = "x" * 9000
UNREADABLE = {
    "no request": ("nonsense\r\n\r\n", 400, "bad_request"),
    "no host": ("GET /health HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "two hosts": ("GET /health HTTP/1.1\r\nHost: HOST\r\nHost: b\r\n\r\n", 400, "bad_request"),
    "bad path": ("GET /%0 HTTP/1.1\r\nHost: HOST\r\n\r\n", 400, "bad_request"),
    "bad length": (
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: x\r\n\r\n",
        400,
        "bad_request",
    ),
    "trace": ("TRACE /health HTTP/1.1\r\nHost: HOST\r\n\r\n", 405, "method_not_allowed"),
    "connect": ("CONNECT / HTTP/1.1\r\nHost: HOST\r\n\r\n", 405, "method_not_allowed"),
    "long path": (f"GET /{LONG} HTTP/1.1\r\nHost: HOST\r\n\r\n", 414, "target_too_long"),
    "long header": (f"GET / HTTP/1.1\r\nHost: HOST\r\nX: {LONG}\r\n\r\n", 431, "head_too_large"),
    "encoding": (
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip\r\n\r\n",
        501,
        "bad_request",
    ),
    "version": ("GET / HTTP/3.0\r\nHost: HOST\r\n\r\n", 505, "bad_request"),
}


@pytest.mark.parametrize("name", [ORCHESTRATOR, LLAMA, "elsewhere.example"])
@pytest.mark.parametrize(("text", "status", "code"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_nginx_itself_refuses_is_said_in_json(front, text, status, code, name):
    """In TLS, and on the plain port, which otherwise only sends there."""
    trust = ssl.create_default_context(cafile=front.directory / "cert.pem")
    trust.check_hostname = name in (ORCHESTRATOR, LLAMA)
    for port in (front.port, front.plain_port):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            ExitStack() as stack,
        ):
            line = plain
            if port == front.port:
                line = stack.enter_context(trust.wrap_socket(plain, server_hostname=name))
            line.sendall(text.replace("HOST", name).encode())
            answer = HTTPResponse(line)
            answer.begin()
            body = json.loads(answer.read())
        assert (answer.status, answer.getheader("Content-Type")) == (status, "application/json")
        assert (body["status"], body["code"], body["error"]["code"]) == (status, code, code)
        assert body["remedy"]


def test_plain_http_at_the_port_of_tls_is_said_in_json(front):
    answer = httpx.get(f"http://127.0.0.1:{front.port}/", trust_env=False)
    assert "HTTPS only" in str(refused(answer, 400, "bad_request")["detail"])


@pytest.mark.parametrize("path", ["/edge-unreadable/400", "/edge-unreadable/494?x=1"])
def test_place_where_refusals_are_made_is_nobodys_to_ask_for(front, path):
    refused(front.ask(ORCHESTRATOR, "GET", path), 404, "not_found")
    refused(front.ask(LLAMA, "GET", path), 404, "not_found")


def test_edge_that_cannot_store_a_body_says_so(tmp_path):
    with edge_and_daemon(tmp_path, **NOT_COUNTED) as front:
        (front.directory / "body").rmdir()
        refused(front.post("/models/load", {"model": "a" * (2 << 20)}), 500, "internal")


# --- the certificate -----------------------------------------------------------------------------


def test_certificate_is_made_once_and_names_both(front):
    made = (front.directory / "cert.pem").read_bytes()
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName"],
        input=made,
        capture_output=True,
        check=True,
    )
    assert b"DNS:orchestrator.lan, DNS:llama.lan" in shown.stdout
    assert (front.directory / "key.pem").stat().st_mode & 0o077 == 0


def test_certificate_is_given_to_others_without_its_key(tmp_path, front):
    directory, public = tmp_path / "edge", tmp_path / "public"
    for each in (directory, public):
        each.mkdir()
    start(directory)
    assert start(directory, EDGE_CA_DIR=str(public)).count("edge:") == 0
    (given,) = public.iterdir()
    assert (given.name, given.stat().st_mode & 0o777) == ("ca.pem", 0o644)
    assert given.read_bytes() == (directory / "cert.pem").read_bytes()
    (directory / "ca.pem").write_bytes((front.directory / "cert.pem").read_bytes())
    start(directory, EDGE_CA_DIR=str(public))
    assert given.read_bytes() == (front.directory / "cert.pem").read_bytes()
    assert [*public.iterdir()] == [given]


def test_certificate_of_the_operator_is_used(tmp_path, front):
    directory = tmp_path / "edge"
    directory.mkdir()
    for name in ("cert.pem", "key.pem"):
        (directory / name).write_bytes((front.directory / name).read_bytes())
    start(directory)
    assert (directory / "cert.pem").read_bytes() == (front.directory / "cert.pem").read_bytes()
    assert not (directory / "made-here").exists()


def test_certificate_without_its_key_is_said(tmp_path):
    (tmp_path / "cert.pem").write_text("a certificate")
    assert "has no key.pem" in start(tmp_path)


def start(directory: Path, **environment: str) -> str:
    """Run the script as far as nginx, which refuses a configuration that is not there."""
    done = subprocess.run(
        [EDGE / "edge-entrypoint.sh"],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "EDGE_TLS_DIR": str(directory),
            "EDGE_SIDE_DIR": str(directory),
            "EDGE_CONF": str(directory / "none.conf"),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    return done.stderr
