"""Every write leaves one line: generated from the routing table, so that a new route without it
fails.
"""

import asyncio
import json

import httpx
import pytest
from starlette.responses import JSONResponse

from orchestrator.access.audit.lines import NOTHING_YET, ActOutcome, encode
from orchestrator.access.keys.record import KeyScope
from orchestrator.errors import AuditUnavailable
from orchestrator.gateway.ollama.api import OF_A_MODEL
from orchestrator.gateway.ollama.paths import CALLS, NOT_HERE
from orchestrator.web.acts import ACTS, NO_ACTS, find_act
from orchestrator.web.audited import FOLD_S, Audited, before_acting
from orchestrator.web.gate import COOKIE
from orchestrator.web.guard import READING_METHODS
from tests.unit.web import office as offices
from tests.unit.web.keyed import bearer, closed_doors
from tests.unit.web.office import APP, filled, routes_of

CANARY = "canary-7d1f"
FOREIGN = {"Origin": "https://evil.example"}
WRITES = [
    route for route in routes_of(APP) if route[0] not in READING_METHODS and route not in NO_ACTS
]
# A body that does something, where an empty one does not.
BODIES = {
    "/session": {"key": "vo_abcd1234_" + "x" * 43},
    "/keys": {"name": "n8n", "scopes": ["load"]},
    "/models/load": {"model": "a", "owner": "x"},
    "/models/unload": {"model": "a"},
    "/vram/leases": {"vram_mb": 100, "owner": "x", "ttl_seconds": 60},
    "/vram/leases/{lease_id}": {"ttl_seconds": 60},
    "/leases/{lease_id}": {"ttl_seconds": 60},
    "/devices/{device_id}/fake": {"foreign_mb": 1},
    "/models/{name}": {"service": "rehearsal", "vram_mb": 100},
}


class Book:
    """An audit log in memory, whose disk does what a test says."""

    head = problem = None

    def __init__(self):
        self.acts = []
        self.broken = False
        self.watched = lambda: None
        self.seen = []

    def note(self, act):
        self.acts.append(act)

    async def durable(self, act):
        if self.broken:
            raise AuditUnavailable("the disk is full")
        self.acts.append(act)
        self.seen.append(self.watched())
        return len(self.acts)


@pytest.fixture
def book():
    return Book()


@pytest.fixture
def audited(office, book, monkeypatch):
    """The office, with an audit log round its application."""
    monkeypatch.setattr(offices, "app_of", lambda desk, of=offices.app_of: Audited(of(desk), book))
    return office


def test_every_write_route_is_in_the_table():
    known = {route for route in ACTS if route[0] not in READING_METHODS}
    of_ollama = {
        (method, path)
        for method, path in CALLS
        if method not in READING_METHODS and ("POST", path) not in NO_ACTS
    }
    own = of_ollama - {("POST", path) for path in OF_A_MODEL - {"/api/pull"}}
    assert set(WRITES) | own == known
    assert not any(find_act("POST", path) for path in NOT_HERE)


@pytest.mark.parametrize("by", [{}, FOREIGN], ids=["ours", "refused by the guard"])
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_every_write_route_leaves_one_line(audited, book, method, path, by):
    body = json.dumps(BODIES.get(path, {})).encode()
    headers = {"Content-Type": "application/json", **by}
    answer = audited.asked(method, filled(path), content=body, headers=headers)
    first = [act for act in book.acts if act.of is None]
    assert len(first) == 1, book.acts
    (act,) = first
    assert (act.action, act.caller.address) == (ACTS[method, path].action, "127.0.0.1")
    assert answer.headers["x-request-id"] == act.request_id
    if by:
        assert (act.outcome, act.code) == (ActOutcome.REFUSED, "bad_origin")
        assert book.acts == [act]
    elif answer.status_code < 400:
        assert (act.outcome, act.code, len(book.acts)) == (ActOutcome.GRANTED, None, 1)
    else:
        last = book.acts[-1]
        expected = ActOutcome.FAILED if answer.status_code == 500 else ActOutcome.REFUSED
        assert (last.outcome, last.code) == (expected, answer.json()["code"])
        assert last is act or last.of == 1


@pytest.mark.parametrize(
    ("method", "path"), [route for route in WRITES if route[1] in BODIES and route[0] != "DELETE"]
)
def test_a_request_that_is_not_understood_leaves_one_line(audited, book, method, path):
    answer = audited.asked(method, filled(path), json={CANARY: CANARY})
    assert answer.status_code == 422
    assert len([act for act in book.acts if act.of is None]) == 1
    assert (book.acts[-1].outcome, book.acts[-1].code) == (ActOutcome.REFUSED, "invalid")


ADMINS = {
    "PUT /models/b/pin": {},
    "DELETE /models/b/pin": {},
    "PUT /models/c": {"service": "rehearsal", "vram_mb": 100},
    "DELETE /models/b": {},
    "POST /admin/reload": {},
    "PUT /devices/fake-0/fake": {"foreign_mb": 1},
    "POST /models/load": {"model": "b", "pin": True},
    "POST /models/unload": {"model": "a", "force": True},
    "POST /requests/7/cancel": {},
}


@pytest.mark.parametrize("route", ADMINS)
def test_what_an_admin_does_is_written_before_it_is_done(audited, book, route):
    method, path = route.split(" ")
    audited.asked("POST", "/models/load", json={"model": "a"})
    book.acts.clear()
    book.watched, before = audited.state, audited.state()
    audited.asked(method, path, json=ADMINS[route])
    assert book.seen == [before]
    assert book.acts[0].outcome is ActOutcome.GRANTED


@pytest.mark.parametrize("route", ADMINS)
def test_what_cannot_be_written_is_not_done_and_serving_goes_on(audited, book, route):
    method, path = route.split(" ")
    audited.asked("POST", "/models/load", json={"model": "a"})
    book.broken, before = True, audited.state()
    answer = audited.asked(method, path, json=ADMINS[route])
    assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
    assert audited.state() == before
    assert (book.acts[-1].outcome, book.acts[-1].code) == ("refused", "audit_unavailable")
    assert audited.asked("POST", "/models/load", json={"model": "b"}).status_code == 200
    assert audited.asked("POST", "/models/unload", json={"model": "b"}).status_code == 200


def test_what_came_to_nothing_is_said_of_its_line(audited, book):
    answer = audited.asked("PUT", "/models/nothing/pin")
    assert answer.status_code == 404
    granted, refused = book.acts
    assert (granted.outcome, granted.target) == ("granted", "nothing")
    assert (refused.outcome, refused.code, refused.of) == ("refused", "unknown_model", 1)


def test_a_line_names_what_was_acted_on_and_how_much_was_asked(audited, book):
    order = {"model": "a", "owner": "x", "priority": 7, "lease_seconds": 60}
    audited.asked("POST", "/models/load", json=order)
    (act,) = book.acts
    assert (act.target, act.numbers) == ("a", {"priority": 7, "lease_s": 60.0})


@pytest.mark.parametrize("path", ["/models/load", "/vram/leases", "/models/c"])
def test_no_secret_of_a_caller_is_in_a_line(audited, book, path):
    method = "PUT" if path == "/models/c" else "POST"
    audited.asked(
        method,
        f"{path}?key={CANARY}",
        json={**BODIES["/models/{name}"], "prompt": CANARY, "file": CANARY},
        headers={"Authorization": f"Bearer {CANARY}", "X-Request-Id": CANARY, "Cookie": CANARY},
    )
    assert book.acts
    for act in book.acts:
        assert CANARY.encode() not in encode(act, at="now", after=NOTHING_YET)[0]


def test_a_name_with_a_line_break_is_one_line(audited, book):
    audited.asked("DELETE", "/models/a%0a%7B%22seq%22:1%7D")
    raw, _ = encode(book.acts[0], at="now", after=NOTHING_YET)
    assert len(raw.splitlines()) == 1


def test_reading_a_log_is_told_once_a_minute(office, monkeypatch, book):
    now = [0.0]
    monkeypatch.setattr(
        offices,
        "app_of",
        lambda desk, of=offices.app_of, kept=[]: (
            kept or kept.append(Audited(of(desk), book, lambda: now[0])) or kept
        )[0],
    )
    for _ in range(5):
        office.asked("GET", "/models/a/logs")
    office.asked("GET", "/models/b/logs")
    assert [act.target for act in book.acts] == ["a", "b"]
    now[0] += FOLD_S
    office.asked("GET", "/models/a/logs")
    assert [act.action for act in book.acts] == ["log.read"] * 3


@pytest.fixture
def locked(office, book, monkeypatch):
    """The office with keys, and its one audit log whose minute passes when a test says so."""
    with closed_doors(office) as doors:
        clock = [0.0]
        round_all = Audited(offices.app_of(office.desk), book, lambda: clock[0])
        monkeypatch.setattr(offices.GATE, "turned_away", round_all.turned_away)
        monkeypatch.setattr(offices, "app_of", lambda _: round_all)
        doors.clock = clock
        yield doors


def who(act):
    return act.action, act.caller.key, act.outcome, act.code


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_every_line_says_whose_key_it_was(locked, book, method, path):
    new = locked.make(KeyScope.ADMIN)
    headers = {"Content-Type": "application/json", **bearer(new)}
    body = json.dumps(BODIES.get(path, {})).encode()
    locked.office.asked(method, filled(path), content=body, headers=headers)
    expected = None if path == "/session" and method == "POST" else new.record.id
    assert {act.caller.key for act in book.acts} == {expected}


@pytest.mark.parametrize(("method", "path"), [one for one in WRITES if one[1] != "/session"])
def test_what_a_narrow_key_or_none_wants_is_one_line_a_minute(locked, book, method, path):
    new = locked.make(KeyScope.READ)
    narrow = (bearer(new), new.record.id, "forbidden")
    for said, key, code in (({}, None, "unauthorized"), narrow):
        book.acts.clear()
        headers = {"Content-Type": "application/json", **said}
        for _ in range(3):
            locked.office.asked(method, filled(path), headers=headers, content=b"{}")
        expected = (ACTS[method, path].action, key, ActOutcome.REFUSED, code)
        assert [who(act) for act in book.acts] == [expected]


def test_a_login_and_what_is_done_with_it_say_key_and_session(locked, book):
    new = locked.make(KeyScope.ADMIN)
    answer = locked.office.asked("POST", "/session", json={"key": new.secret})
    cookie = answer.cookies[COOKIE]
    session = next(iter(locked.keys.table.sessions.values()))
    locked.office.asked("PUT", "/models/b/pin", headers={"Cookie": f"{COOKIE}={cookie}"})
    locked.office.asked("DELETE", "/session", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert [act.action for act in book.acts] == ["session.open", "model.pin", "session.close"]
    for act in book.acts:
        assert (act.caller.key, act.caller.session) == (new.record.id, session.mark)
        assert cookie.encode() not in encode(act, at="now", after=NOTHING_YET)[0]


def test_key_that_is_made_is_named(locked, book):
    new = locked.make(KeyScope.ADMIN)
    wish = {"name": "n8n", "scopes": ["load"]}
    assert locked.office.asked("POST", "/keys", headers=bearer(new), json=wish).status_code == 201
    assert [(act.action, act.target) for act in book.acts] == [("key.create", "n8n")]


def test_refusals_of_one_caller_are_folded_with_their_number(locked, book):
    new = locked.make(KeyScope.READ, requests_per_minute=1)
    for path in ("/models", "/devices", "/docs", "/no/such/path"):
        locked.office.asked("GET", path)
    for _ in range(3):
        locked.office.asked("POST", "/session", json={"key": "vo_nothing1_" + "x" * 43})
        locked.office.asked("POST", "/models/load", headers=bearer(new), json={"model": "a"})
        locked.office.asked("GET", "/models", headers=bearer(new))
    refused = ActOutcome.REFUSED
    assert [who(act) for act in book.acts] == [
        ("auth.refuse", None, refused, "unauthorized"),
        ("session.open", None, refused, "unauthorized"),
        ("model.load", new.record.id, refused, "forbidden"),
        ("auth.refuse", new.record.id, refused, "rate_limited"),
    ]
    locked.clock[0] += FOLD_S
    locked.office.asked("GET", "/models")
    assert book.acts[-1].numbers == {"times": 4}


def test_reading_and_asking_leave_no_line(audited, book):
    for method, path in routes_of(APP):
        if method == "GET" and not path.endswith(("/logs", "sse", "/events")):
            audited.asked(method, filled(path))
    for _, path in NO_ACTS - {("POST", "/api/show")}:
        audited.asked("POST", path, json={"model": "a"})
    assert book.acts == []


def test_a_caller_who_leaves_has_a_line(book):
    async def hangs(scope, receive, send):
        await asyncio.sleep(3600)

    async def scene():
        scope = {"type": "http", "method": "POST", "path": "/models/load", "client": ("::1", 1)}
        asking = asyncio.create_task(Audited(hangs, book)(scope, None, None))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})

    asyncio.run(scene())
    (act,) = book.acts
    assert (act.outcome, act.code, act.target) == ("failed", "client_gone", "/models/load")


def test_a_crash_is_a_failure(book):
    async def breaks(scope, receive, send):
        await before_acting({"name": "a"})
        await JSONResponse({"code": "internal"}, 500)(scope, receive, send)

    async def scene():
        transport = httpx.ASGITransport(Audited(breaks, book))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.delete("/leases/l1")

    asyncio.run(scene())
    (act,) = book.acts
    assert (act.outcome, act.code, act.target) == ("failed", "internal", "a")
