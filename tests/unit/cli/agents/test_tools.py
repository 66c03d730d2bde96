import pytest

from orchestrator.cli.agents.tools import DECISIONS_MAX, WAIT_S_MAX, ToolRefused, Tools
from orchestrator.cli.client import Answer, NotReached, RefusedByDaemon


class Asked:
    """A daemon that keeps what it is asked, and answers as a test says."""

    def __init__(self, answer=None):
        self.asked = []
        self.answer = answer or {}

    def ask(self, method, path, body=None, *, timeout_s):
        self.asked.append((method, path, body, timeout_s))
        if isinstance(self.answer, Exception):
            raise self.answer
        return Answer(self.answer, "")


def test_orders_say_only_what_was_said():
    remote = Asked({"events": []})
    tools = Tools(remote)
    tools.status()
    tools.plan("a")
    tools.load("a", owner="me", wait_seconds=5)
    tools.load("a", wait_seconds=1e9)
    tools.unload("a")
    tools.lease(1000, "me", 60)
    tools.release("l/1")
    tools.why("a b")
    asked = [(method, path, body) for method, path, body, _ in remote.asked]
    assert asked == [
        ("GET", "/models/status", None),
        ("POST", "/models/plan", {"model": "a"}),
        ("POST", "/models/load", {"model": "a", "owner": "me", "wait": 5}),
        ("POST", "/models/load", {"model": "a", "wait": WAIT_S_MAX}),
        ("POST", "/models/unload", {"model": "a", "force": False, "wait": 120.0}),
        (
            "POST",
            "/vram/leases",
            {"vram_mb": 1000, "owner": "me", "ttl_seconds": 60, "wait": 240.0},
        ),
        ("DELETE", "/leases/l%2F1", None),
        ("GET", f"/events?model=a+b&limit={DECISIONS_MAX}", None),
    ]
    assert remote.asked[2][3] == 35.0, "it is waited for longer than the daemon waits"


def test_a_refusal_says_what_is_in_the_way_and_what_helps():
    body = {"code": "no_room", "detail": "b is in use.", "remedy": "Wait."}
    with pytest.raises(ToolRefused, match=r"^no_room: b is in use\. Wait\.$"):
        Tools(Asked(RefusedByDaemon(503, body, ""))).load("a")
    with pytest.raises(ToolRefused, match=r"^Nobody answers\. Start one\.$"):
        Tools(Asked(NotReached("Nobody answers.", "Start one."))).status()
