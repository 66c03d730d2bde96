"""nginx and API keys: whom it carries for, whom it leaves to the daemon, and whom it refuses alone."""

import asyncio
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from orchestrator.access.keys.form import digest_of, new_key
from orchestrator.access.keys.record import ApiKey, FormerSecret, KeyScope
from orchestrator.access.keys.table import KeyTable
from orchestrator.gateway.edge.known_keys import text_of, write
from tests.contracts.edge_plane_parts import edge_alone
from tests.contracts.edge_plane_stand_in import daemon_at
from tests.scenarios.backend import backend, events

pytestmark = pytest.mark.nginx

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
MANY = 60_000
WARM, ASKED = {"ok": True}, {"by": "daemon"}


def key_of(secret, id_="abcd1234", **more):
    said = {"scopes": (KeyScope.USE,), "requests_per_minute": MANY, "max_in_flight": 1000, **more}
    return ApiKey(id=id_, digest=digest_of(secret.encode()), name="ci", created_s=0.0, **said)


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def nginx():
    with edge_alone() as edge:
        yield edge


@pytest.fixture
def there():
    with backend() as server:
        yield server


@pytest.fixture
def secret():
    return new_key("abcd1234")


@pytest.fixture
def alone(nginx, there):
    """With a model that is ready, and no daemon."""
    nginx.tell_keys()
    nginx.publish(nginx.published(there.url, aliases=("else",)))
    (nginx.directory / "daemon.sock").unlink(missing_ok=True)
    return nginx


@pytest.fixture
def edge(alone):
    with daemon_at(alone) as daemon:
        alone.daemon = daemon
        yield alone


def ask(edge, headers=None, path=CHAT, model="a"):
    return edge.post(path, {"model": model}, headers=headers or {})


def refused(answer, status, code):
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/json"


# --- whom it carries for -------------------------------------------------------------------------


def test_a_valid_key_is_carried_for_and_goes_no_further(edge, there, secret):
    edge.tell_keys(key_of(secret))
    assert ask(edge, bearer(secret)).json() == WARM
    assert ask(edge, {"X-Api-Key": secret}, MESSAGES).json() == WARM
    assert ask(edge, {"authorization": f"bearer  {secret}"}).json() == WARM
    assert edge.daemon.heard == []
    assert secret not in repr(there.heard)


CASES = {
    "every scope that holds use": ({"scopes": (KeyScope.LOAD,)}, {}, True),
    "an admin": ({"scopes": (KeyScope.ADMIN,)}, {}, True),
    "no use": ({"scopes": (KeyScope.READ, KeyScope.LEASE)}, {}, "forbidden"),
    "its model": ({"models": ("b*", "a")}, {}, True),
    "a glob": ({"models": ("*a*",)}, {}, True),
    "no model of its": ({"models": ("b*", "*b", "ab", "a?", "else")}, {}, "forbidden"),
    "its network": ({"networks": ("10.0.0.0/8", "127.0.0.0/30")}, {}, True),
    "any network": ({"networks": ("0.0.0.0/0",)}, {}, True),
    "other networks": ({"networks": ("127.0.0.4/30", "::/0", "::1/128")}, {}, "wrong_network"),
    "not over yet": ({"expires_s": time.time() + 3600}, {}, True),
    "over": ({"expires_s": time.time() - 1}, {}, "key_expired"),
    "within its ceiling": ({"max_priority": 2}, {"X-Priority": "2"}, True),
    "over its ceiling": ({"max_priority": 2}, {"X-Priority": "3"}, "priority_too_high"),
    "revoked": ({"revoked_s": 1.0}, {}, "unauthorized"),
}
STATUS = {"unauthorized": 401, "key_expired": 401}


@pytest.mark.parametrize(("more", "headers", "may"), CASES.values(), ids=CASES)
def test_what_is_not_plainly_allowed_is_asked_and_refused_without_the_daemon(
    alone, secret, more, headers, may
):
    alone.tell_keys(key_of(secret, **more))
    with daemon_at(alone):
        assert ask(alone, bearer(secret) | headers).json() == (WARM if may is True else ASKED)
    answer = ask(alone, bearer(secret) | headers)
    if may is True:
        assert answer.json() == WARM
    else:
        refused(answer, STATUS.get(may, 403), may)
        assert secret not in answer.text


SHOWN = {
    "nothing": {},
    "another": bearer(new_key("abcd1234")),
    "another beside a good one": {"Authorization": "Bearer x", "X-Api-Key": "GOOD"},
    "another kind": {"Authorization": "Basic GOOD"},
    "no kind": {"Authorization": "GOOD"},
    "an empty one": {"Authorization": "Bearer"},
    "a session": {"Cookie": "vo_session=x"},
}


@pytest.mark.parametrize("headers", SHOWN.values(), ids=SHOWN)
def test_who_shows_no_key_is_left_to_the_daemon_and_refused_without_it(alone, secret, headers):
    alone.tell_keys(key_of(secret))
    shown = {name: said.replace("GOOD", secret) for name, said in headers.items()}
    with daemon_at(alone) as daemon:
        assert ask(alone, shown).json() == ASKED
        said = {name.lower(): value for name, value in daemon.heard[-1][1].items()}
        assert {
            name.lower(): value.strip() for name, value in shown.items()
        }.items() <= said.items()
    answer = ask(alone, shown)
    refused(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    anthropic = ask(alone, shown, MESSAGES).json()
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "authentication_error")


def test_both_secrets_of_a_rotation_are_valid_until_the_first_is_over(edge, secret):
    former = new_key("abcd1234")
    ends_s = time.time() + 2
    before = FormerSecret(digest=digest_of(former.encode()), ends_s=ends_s)
    edge.tell_keys(key_of(secret, former=before))
    assert [ask(edge, bearer(one)).json() for one in (secret, former)] == [WARM, WARM]
    time.sleep(max(0.0, ends_s - time.time()) + 0.1)
    assert [ask(edge, bearer(one)).json() for one in (secret, former)] == [WARM, ASKED]


def test_a_thousand_keys_are_told(edge):
    secrets = [new_key(f"k{number:07d}") for number in range(1000)]
    edge.tell_keys(*(key_of(one, one[3:11]) for one in secrets))
    assert {ask(edge, bearer(one)).text for one in secrets[::100]} == {'{"ok": true}'}


# --- limits --------------------------------------------------------------------------------------


def test_as_many_as_a_minute_has_are_carried_and_the_next_one_is_asked(alone, secret):
    alone.tell_keys(key_of(secret, requests_per_minute=7))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(alone, bearer(secret)), range(20)))
    assert sum(answer.status_code == 200 for answer in answers) <= 7
    said = [ask(alone, bearer(secret)) for _ in range(8)]
    refused(said[-1], 429, "rate_limited")
    assert int(said[-1].headers["Retry-After"]) == said[-1].json()["retry_after_seconds"]
    with daemon_at(alone):
        assert ask(alone, bearer(secret)).json() == ASKED


def test_a_minute_is_one_budget_of_both(edge, secret):
    key = key_of(secret, "budget01", requests_per_minute=10)
    edge.tell_keys(key)
    for _ in range(4):
        edge.keys.rates.ask(key, edge.keys.steady())
    edge.counts()  # each hears of the other
    said = [ask(edge, bearer(secret)).json() for _ in range(8)]
    assert said == [WARM] * 6 + [ASKED] * 2
    edge.counts()
    assert edge.keys.rates.ask(key, edge.keys.steady()).code == "rate_limited"


def test_keys_that_were_made_share_the_minute_of_their_maker(edge, secret):
    maker = key_of(new_key("maker001"), "maker001", requests_per_minute=4)
    made = [new_key(f"made000{number}") for number in range(2)]
    edge.tell_keys(maker, *(key_of(one, one[3:11], created_by="maker001") for one in made))
    said = [ask(edge, bearer(made[number % 2])).json() for number in range(6)]
    assert said == [WARM] * 4 + [ASKED] * 2
    edge.counts()
    assert edge.keys.rates.ask(maker, edge.keys.steady()).code == "rate_limited"


def test_a_burst_is_bounded(alone, secret):
    alone.tell_keys(key_of(secret, "burst001", burst=3))
    statuses = [ask(alone, bearer(secret)).status_code for _ in range(8)]
    assert 429 in statuses
    time.sleep(2.1)
    assert ask(alone, bearer(secret)).status_code == 200


def test_requests_at_the_same_time_are_bounded_also_after_a_worker_was_killed(alone, there, secret):
    key = key_of(secret, "atonce01", max_in_flight=2)
    alone.tell_keys(key)
    there.answers = [b" "] * 500
    with ThreadPoolExecutor(2) as pool:
        under_way = [pool.submit(ask, alone, bearer(secret)) for _ in range(2)]
        alone.until_passing(2)
        refused(ask(alone, bearer(secret)), 429, "rate_limited")
        assert alone.keys.rates.begin(key).code == "rate_limited", "the daemon counts them as well"
        for worker in alone.workers():
            os.kill(worker, signal.SIGKILL)
        alone.until_passing(0)
        assert all(isinstance(one.exception(), httpx.TransportError) for one in under_way)
    there.answers = [b"{}"]
    assert [ask(alone, bearer(secret)).status_code for _ in range(3)] == [200] * 3
    alone.counts()
    assert alone.keys.rates.begin(key) is None


# --- revoked, started anew, told badly -----------------------------------------------------------


def test_a_revoked_key_is_refused_within_100_ms(alone, secret):
    keeping = alone.loop.begin(alone.plane.keep_up())
    taken_s = []
    try:
        with httpx.Client(base_url=alone.url, headers=bearer(secret), trust_env=False) as client:

            def status():
                try:
                    return client.post(CHAT, json={"model": "a"}).status_code
                except httpx.RemoteProtocolError:  # one that was under way is cut
                    return None

            for _ in range(10):
                alone.tell_keys(key_of(secret))
                assert status() == 200
                alone.keys.table = KeyTable(
                    alone.keys.table.generation + 1, [key_of(secret, revoked_s=1.0)]
                )
                began = time.monotonic()
                alone.loop.call(alone.plane.keys_changed)
                while status() == 200:
                    assert time.monotonic() - began < 20, "never"
                taken_s.append(time.monotonic() - began)
    finally:
        alone.loop.call(keeping.cancel)
    assert min(taken_s) < 0.1, taken_s  # the others are the machine's


def test_what_is_carried_for_a_key_ends_when_it_is_revoked(alone, there, secret):
    alone.tell_keys(key_of(secret))
    there.kind, there.answers = "text/event-stream", events({"delta": "x"}) * 6000
    said = b""
    with httpx.stream(
        "POST", alone.url + CHAT, json={"model": "a"}, headers=bearer(secret), trust_env=False
    ) as answer:
        pieces = answer.iter_raw()
        said += next(pieces)
        alone.tell_keys(key_of(secret, revoked_s=1.0))
        with suppress(httpx.RemoteProtocolError):  # cut, behind the event that says so
            for piece in pieces:
                said += piece
    assert b'"ended"' in said
    alone.until_passing(0)


def test_the_last_key_does_not_open_it(alone, secret):
    alone.tell_keys(key_of(secret, revoked_s=1.0))
    refused(ask(alone), 401, "unauthorized")


def test_keys_that_find_no_place_let_nobody_in(edge, secret):
    edge.tell_keys(key_of(secret))
    assert ask(edge, bearer(secret)).json() == WARM
    text = text_of(edge.keys.table)
    for bad in (text[:-30], text.replace('"secrets": 1', '"secrets": 2'), "", "x\n", "{}\n"):
        edge.tell_keys(key_of(secret))
        transport = httpx.HTTPTransport(uds=str(edge.directory / "control.sock"))
        with httpx.Client(transport=transport) as control:
            assert control.put("http://edge/keys", content=bad).status_code == 507
        assert ask(edge, bearer(secret)).json() in (ASKED, WARM)
        assert ask(edge).json() == ASKED
        edge.counts()
        assert ask(edge, bearer(secret)).json() == WARM, "it is told again"


def test_nginx_started_anew_has_them_from_the_file_while_the_daemon_is_dead(there, secret):
    with edge_alone() as edge:
        edge.tell_keys(key_of(secret))
        edge.publish(edge.published(there.url))
        write(edge.directory, text_of(edge.keys.table))
        file = edge.directory / "keys"
        assert file.stat().st_mode & 0o777 == 0o640
        assert secret not in file.read_text()
        for text, with_key, without in ((None, 200, 401), ("", 503, 503)):
            if text is not None:
                file.write_text(text)
            edge.nginx.end()
            edge.nginx = edge.start()
            assert (ask(edge).status_code, ask(edge, bearer(secret)).status_code) == (
                without,
                with_key,
            )
        file.unlink()
        edge.nginx.end()
        edge.nginx = edge.start()
        assert ask(edge).status_code == 503, "nobody has said that there are none"


# --- secrets, and for long -----------------------------------------------------------------------


def test_no_key_stands_in_what_nginx_writes(edge, secret):
    edge.tell_keys(key_of(secret))
    for headers in (bearer(secret), {"X-Api-Key": secret}, {"Authorization": f"Basic {secret}"}):
        ask(edge, headers)
        ask(edge, headers, model="b")
    assert any('"key":"abcd1234"' in line for line in edge.figures())
    for file in edge.directory.iterdir():
        if file.is_file():
            assert secret[12:].encode() not in file.read_bytes(), file


class _AtOnce(asyncio.Protocol):
    """A server that answers a whole request at once: a test's own would take 20 ms."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

    def __init__(self, lines):
        self.lines = lines

    def connection_made(self, transport):
        self.transport = transport
        self.lines.append(transport)

    def data_received(self, data):
        if data.endswith(b"}"):
            self.transport.write(self.ANSWER)


async def asked_in_a_row(edge, publish, count, secret):
    """By eight callers; how often nginx said each status."""
    loop = asyncio.get_running_loop()
    lines = []
    server = await loop.create_server(lambda: _AtOnce(lines), "127.0.0.1", 0)
    await asyncio.to_thread(publish, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    body = b'{"model": "a"}'
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    request, statuses = head.encode() + body, Counter()

    async def caller():
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.port)
        for _ in range(count // 8):
            writer.write(request)
            answer = await reader.readuntil(b"{}")
            statuses[answer[9:12]] += 1
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(caller() for _ in range(8)))
    server.close()
    for line in lines:
        line.abort()
    await server.wait_closed()
    return statuses


def test_ten_thousand_requests_in_a_row(alone, secret):
    """What fills a table of LuaJIT with every request is seen by some thousands of them."""
    alone.tell_keys(key_of(secret, "inarow01"))

    def publish(url):
        alone.publish(alone.published(url))

    statuses = asyncio.run(asked_in_a_row(alone, publish, 10_000, secret))
    assert statuses == {b"200": 10_000}
