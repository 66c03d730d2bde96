from dataclasses import replace

import pytest

from orchestrator.config.sections import Dashboard, ServerSettings
from orchestrator.web.guard import Admission, host_allowed, host_name, judge
from tests.unit.web.office import APP, Office, filled, routes_of

READS = {"GET", "HEAD", "OPTIONS"}
ROUTES = [(method, filled(path)) for method, path in routes_of(APP)]
WRITES = [route for route in ROUTES if route[0] not in READS]
JSON = {"Content-Type": "application/json"}
FOREIGN = [
    ({"Host": "rebound.example"}, 421, "bad_host"),
    ({"Host": "rebound.example", "Origin": "http://rebound.example"}, 421, "bad_host"),
    ({"Host": ""}, 421, "bad_host"),
    ({"Origin": "https://evil.example"}, 403, "bad_origin"),
    ({"Origin": "null"}, 403, "bad_origin"),
    ({"Origin": "https://localhost"}, 403, "bad_origin"),
    ({"Origin": "http://localhost:3000"}, 403, "bad_origin"),
    ({"Sec-Fetch-Site": "same-site"}, 403, "bad_origin"),
    ({"Sec-Fetch-Site": "cross-site"}, 403, "bad_origin"),
    ({"Content-Type": "text/plain"}, 415, "not_json"),
    ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "not_json"),
    ({"Content-Type": "text/plain; x=application/json"}, 415, "not_json"),
    ({"Content-Type": ""}, 415, "not_json"),
    ({"Content-Length": "33554432"}, 413, "too_large"),
]


def test_routing_table_is_read():
    assert len(WRITES) >= 14
    assert ("POST", "/models/load") in WRITES
    assert ("PUT", "/devices/fake-0/fake") in WRITES


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_cross_site_write_is_403(office, method, path):
    before = office.state()
    for headers, status, code in FOREIGN:
        answer = office.asked(method, path, content=b"{}", headers={**JSON, **headers})
        assert (answer.status_code, answer.json()["code"]) == (status, code), headers
    assert office.state() == before


@pytest.mark.parametrize(("method", "path"), [r for r in ROUTES if r[0] in READS])
def test_rebound_name_cannot_read_either(office, method, path):
    answer = office.asked(method, path, headers={"Host": "rebound.example"})
    assert (answer.status_code, answer.json()["code"]) == (421, "bad_host")
    assert answer.json()["remedy"].endswith("server.allowed_hosts: [rebound.example]")


@pytest.mark.parametrize("path", [p for m, p in ROUTES if m == "GET" and "sse" not in p])
def test_no_get_changes_state(office, path):
    # A file is read in a thread, for which the clock does not wait: the lease is a long one.
    body = {"model": "a", "owner": "x", "lease_seconds": 600_000}
    office.asked("POST", "/models/load", json=body)
    before = office.state()
    assert before[1]
    office.asked("GET", path)
    assert office.state() == before


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "app.localhost",
        "box.local:80",
        "127.0.0.1:8000",
        "192.168.1.7",
        "[::1]:8000",
        "[fe80::1]",
        "model-orchestrator:8000",
        "my_service",
        "listed.example",
    ],
)
def test_own_names_are_answered(host):
    name = host_name(host)
    assert name is not None
    assert host_allowed(name, frozenset({"listed.example"}))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:8000",
        "evillocal.example",
        "localhost.",
        "user@localhost",
        "localhost/x",
        "localhost:8000:9",
        "localhost:port",
        "[evil.example]",
        "[localhost]",
        "[::1",
        "[::1]x",
        ":8000",
        "",
        "a b",
        "ä.local",
        "\x00",
    ],
)
def test_other_names_are_not(host):
    name = host_name(host)
    assert name is None or not host_allowed(name, frozenset())


def scope(method="POST", path="/models/load", *headers, scheme="http"):
    return {"type": "http", "method": method, "path": path, "scheme": scheme, "headers": headers}


def test_two_hosts_are_none():
    error = judge(
        scope("GET", "/", (b"host", b"localhost"), (b"host", b"localhost")), Admission(), 100
    )
    assert error is not None
    assert error.code == "bad_host"


@pytest.mark.parametrize("space", [b"\xa0", b"\x85", b"\x1c", b"\x0b"])
@pytest.mark.parametrize("name", [b"host", b"content-type"])
def test_white_space_that_http_does_not_know_is_part_of_the_value(space, name):
    """Whatever stands in front of us would see another value than we do."""
    headers = {b"host": b"localhost", b"content-type": b"application/json"}
    assert judge(scope("POST", "/models/load", *headers.items()), Admission(), 100) is None
    headers[name] = space + headers[name]
    assert judge(scope("POST", "/models/load", *headers.items()), Admission(), 100) is not None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost"},
        {"Origin": "HTTP://LOCALHOST"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "Application/JSON"},
    ],
)
def test_own_page_and_programs_may(office, headers):
    sent = {**JSON, **headers}
    answer = office.asked("POST", "/models/load", content=b'{"model":"a"}', headers=sent)
    assert answer.status_code == 200


def test_operator_lists_an_edge_that_ends_tls(tmp_path):
    server = ServerSettings(
        allowed_hosts=("Orchestrator.LAN",), allowed_origins=("https://orchestrator.lan",)
    )
    headers = {"Host": "orchestrator.lan", "Origin": "https://orchestrator.lan"}
    with Office(tmp_path, server=server) as office:
        assert office.asked("POST", "/models/load", json={"model": "a"}, headers=headers).is_success
        headers["Origin"] = "https://other.lan"
        answer = office.asked("POST", "/models/load", json={"model": "a"}, headers=headers)
        assert answer.status_code == 403


def test_allowed_hosts_change_with_a_reload(office):
    headers = {"Host": "later.example"}
    assert office.asked("GET", "/health", headers=headers).status_code == 421
    server = ServerSettings(allowed_hosts=("later.example",))
    office.config = replace(office.config, server=server)
    assert office.asked("POST", "/admin/reload").status_code == 200
    assert office.asked("GET", "/health", headers=headers).status_code == 200


def test_write_without_a_body_needs_no_type(office):
    assert office.asked("POST", "/admin/reload").status_code == 200


def test_body_without_a_length_is_cut_off_at_the_limit(office):
    sent = 0

    async def chunks():
        nonlocal sent
        while True:
            sent += 1
            yield b" " * 65536

    answer = office.asked("POST", "/models/load", content=chunks(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert sent <= 18


def test_chunked_body_needs_its_type_too(office):
    async def chunks():
        yield b'{"model": "a"}'

    answer = office.asked("POST", "/models/load", content=chunks())
    assert answer.status_code == 415


def test_a_body_may_be_as_large_as_its_route_takes():
    headers = (
        (b"host", b"localhost"),
        (b"content-length", b"4194304"),
        (b"content-type", b"application/json"),
    )
    asked = scope("POST", "/v1/chat/completions", *headers)
    assert judge(asked, Admission(), 8 << 20) is None
    error = judge(asked, Admission(), 1 << 20)
    assert error is not None
    assert error.code == "too_large"


def test_a_body_may_be_of_the_types_that_its_route_takes():
    form = (b"content-type", b"multipart/form-data; boundary=x")
    asked = scope("POST", "/v1/audio/transcriptions", (b"host", b"localhost"), form)
    assert judge(asked, Admission(), 100) is not None
    assert judge(asked, Admission(), 100, frozenset({"multipart/form-data"})) is None
    assert judge(asked, Admission(), 100, None) is None
    foreign = scope(
        "POST", "/x", (b"host", b"localhost"), (b"origin", b"http://evil.example"), form
    )
    assert judge(foreign, Admission(), 100, None) is not None


def test_forged_host_does_not_change_which_route_is_meant(office):
    """A path in the Host header would move request.url; the guard reads scope["path"]."""
    answer = office.asked("POST", "/models/load", headers={"Host": "localhost/health?"})
    assert answer.status_code == 421


@pytest.mark.parametrize("path", ["/model/load", "/nothing"])
def test_a_path_that_is_not_there_is_said_before_the_type_of_the_body(office, path):
    answer = office.asked("POST", path, content=b"a=b", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    foreign = {"Content-Type": "text/plain", "Origin": "https://evil.example"}
    assert office.asked("POST", path, content=b"a=b", headers=foreign).status_code == 403


@pytest.mark.parametrize("name", ["host.docker.internal", "host.containers.internal:8000"])
def test_containers_reach_it_by_the_name_of_their_host(office, name):
    assert office.asked("GET", "/health", headers={"Host": name}).status_code == 200
    other = office.asked("GET", "/health", headers={"Host": f"x.{name}"})
    assert other.status_code == 421


QUESTION = {"model": "a"}


@pytest.fixture
def read_only(tmp_path):
    with Office(tmp_path, server=ServerSettings(dashboard=Dashboard.READ_ONLY)) as office:
        yield office


@pytest.mark.parametrize(
    "said", [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}]
)
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_own_pages_change_nothing_where_they_may_only_look(read_only, method, path, said):
    answer = read_only.asked(method, path, content=b"{}", headers={**JSON, **said})
    refused = (answer.status_code, answer.json().get("code")) == (403, "read_only")
    assert refused is (path not in ("/models/plan", "/models/estimate", "/session"))


def test_programs_change_what_pages_may_not(read_only):
    assert read_only.asked("POST", "/models/load", json=QUESTION).status_code == 200


def test_own_pages_may_ask_what_would_be(read_only):
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert read_only.asked("POST", "/models/plan", json=QUESTION, headers=own).status_code == 200
