import json
from argparse import Namespace

import pytest

from orchestrator.cli import commands
from orchestrator.cli.client import Answer, NotReached, RefusedByDaemon, Remote
from orchestrator.web.wire import examples
from tests.stand_in import stand_in

DEADLINE = (503, {"code": "load_deadline", "detail": "Still loading."})


@pytest.fixture
def daemon():
    with stand_in() as remembered:
        yield remembered


def words(**said):
    silent = dict.fromkeys(
        (
            *("priority", "owner", "lease_seconds", "ttl", "context_size", "gpu_layers"),
            *("cache_type", "lora_scales", "profile", "wait", "model", "evict"),
        )
    )
    flags = dict.fromkeys(("json", "pin", "no_wait", "force", "watch", "follow", "export"), False)
    return Namespace(**{**silent, **flags, "name": "a", "lines": 10, **said})


def test_a_load_sends_only_what_was_said(daemon):
    daemon.answers["POST /models/load"] = examples.LOADED
    assert commands.load(Remote(daemon.url), words(priority=9, ttl=60.0)) == 0
    [body] = daemon.bodies("/models/load")
    assert body == {"model": "a", "priority": 9, "ttl_seconds": 60.0, "wait": commands.WAIT_S}


def test_what_was_suggested_can_be_sent_back(daemon):
    daemon.answers["POST /models/plan"] = examples.PLAN
    asked = words(gpu_layers=23, cache_type="q8_0", context_size=4096, lora_scales=[1.0, 0.0])
    assert commands.plan(Remote(daemon.url), asked) == 0
    [body] = daemon.bodies("/models/plan")
    assert body == {
        "model": "a",
        "gpu_layers": 23,
        "cache_type": "q8_0",
        "context_size": 4096,
        "lora_scales": [1.0, 0.0],
    }


def test_a_load_that_takes_long_is_joined_again(daemon, capsys):
    daemon.answers["POST /models/load"] = [DEADLINE, DEADLINE, (200, examples.LOADED)]
    assert commands.load(Remote(daemon.url), words()) == 0
    assert len(daemon.asked) == 3
    assert "is loaded" in capsys.readouterr().out


def test_a_load_with_a_time_of_its_own_is_not(daemon):
    daemon.answers["POST /models/load"] = DEADLINE
    with pytest.raises(RefusedByDaemon):
        commands.load(Remote(daemon.url), words(wait=1.0))
    assert len(daemon.asked) == 1


def test_a_load_may_be_ordered_only(daemon, capsys):
    daemon.answers["POST /models/load"] = (202, examples.ACCEPTED)
    commands.load(Remote(daemon.url), words(no_wait=True))
    assert daemon.bodies("/models/load")[0]["wait"] is False
    assert "op-17" in capsys.readouterr().out


def test_an_order_that_was_fulfilled_at_once_is_told_so(daemon, capsys):
    daemon.answers["POST /models/load"] = examples.LOADED
    commands.load(Remote(daemon.url), words(no_wait=True))
    assert "is loaded" in capsys.readouterr().out


def test_json_is_exactly_what_the_api_says(daemon, capsys):
    daemon.answers["GET /models"] = (200, b'{"data" :  []}')
    commands.models(Remote(daemon.url), words(json=True))
    assert capsys.readouterr().out == '{"data" :  []}\n'


def test_a_name_is_one_segment_of_the_path(daemon):
    daemon.answers["PUT /models/a%2F..%20b/pin"] = {"model": "x", "pinned": True}
    assert commands.pin(Remote(daemon.url), words(name="a/.. b")) == 0


def test_a_plan_that_is_refused_is_a_failure(daemon):
    refusal = {"code": "no_room", "detail": "d", "remedy": "r"}
    daemon.answers["POST /models/plan"] = [
        examples.PLAN,
        {**examples.PLAN, "fits": False, "refusal": refusal},
    ]
    assert commands.plan(Remote(daemon.url), words()) == 0
    assert commands.plan(Remote(daemon.url), words()) == 1


def test_an_unload_of_an_owner_names_the_owner(daemon):
    daemon.answers["POST /models/unload"] = examples.UNLOADED
    commands.unload(Remote(daemon.url), words(owner="me", force=True))
    assert daemon.bodies("/models/unload") == [{"model": "a", "force": True, "owner": "me"}]


def test_events_are_told_oldest_first(daemon, capsys):
    both = [{**examples.EVENTS["events"][0], "text": text} for text in ("second", "first")]
    daemon.answers["GET /events?limit=10&model=m"] = {"events": both}
    commands.events(Remote(daemon.url), words(model="m"))
    out = capsys.readouterr().out
    assert out.index("first") < out.index("second")


def test_followed_events_are_told_until_the_daemon_ends(daemon, capsys):
    one = examples.EVENTS["events"][0]
    stream = [
        {"type": "snapshot", "decisions": [{**one, "id": 2, "text": "B."}, {**one, "id": 1}]},
        {"type": "status"},
        {**one, "type": "decision", "id": 3, "text": "C.", "model": "other"},
    ]
    text = "".join(f"data: {json.dumps(each)}\n\n" for each in stream).encode()
    daemon.answers["GET /events"] = (200, text)
    with pytest.raises(NotReached, match="closed"):
        commands.events(Remote(daemon.url), words(follow=True))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "B." in lines[1]
    with pytest.raises(NotReached):
        commands.events(Remote(daemon.url), words(follow=True, model="other", json=True))
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["text"] == "C."


def test_an_answer_of_another_version_is_said_to_be_one():
    with pytest.raises(commands.Unintelligible):
        commands.show(Answer({}, "{}"), lambda body: body["devices"], as_json=False)


def test_a_wait_says_what_it_waits_for(daemon):
    daemon.answers["GET /models/status"] = {
        "queue": [{"model": "a", "waits_for": "b drains"}],
        "loaded_models": {},
    }
    words = commands._progress(Remote(daemon.url), "a", look_s=0)
    assert next(words) == "a, 0 s: b drains"


def test_a_daemon_that_says_nothing_while_one_waits_spoils_nothing(daemon):
    daemon.answers["GET /models/status"] = (200, b"nonsense")
    words = commands._progress(Remote(daemon.url), "a", look_s=0)
    assert [next(words), next(words)] == ["a, 0 s"] * 2


def test_a_wait_is_not_asked_about_all_the_time(daemon):
    words = commands._progress(Remote(daemon.url), "a", look_s=3600)
    assert [next(words), next(words)] == ["a, 0 s"] * 2
    assert daemon.asked == []
