import json

import pytest

from orchestrator.desk.activity import Activity, record
from orchestrator.gateway.edge.carried import LINE_S_MAX, Carried
from orchestrator.records import Outcome
from tests.unit.wall_clock import set_by

CALLER = "POST\napplication/json\nhost:80\n10.0.0.9\n{path}\n\n{priority}\n{owner}"


def line(told='"stream":false', *, path="/v1/messages", priority="", owner="", **more):
    caller = CALLER.format(path=path, priority=priority, owner=owner)
    said = {"ended": 100.5, "total": 0.5, "header": "0.2", "status": 200, "completion": "OK"} | more
    figures = (said["ended"], said["total"], said["header"], said["status"], said["completion"])
    told = json.loads("{" + told + "}")
    return json.dumps([caller, "a-1", "a", told, *figures]).encode()


def ended(*lines):
    activity = Activity(lambda: 101.0)
    Carried(activity).ended(lines, 0)
    return activity.recent


def test_a_line_is_a_request():
    told = '"stream":true,"asked":"else","usage":{"prompt_tokens":3,"completion_tokens":4}'
    (run,) = ended(line(told, priority="3", owner="me"))
    assert (run.id, run.asked, run.model, run.instance) == (1, "else", "a", "a-1")
    assert (run.client, run.path, run.protocol) == ("10.0.0.9", "/v1/messages", "anthropic")
    assert (run.owner, run.priority, run.streaming) == ("me", 3, True)
    assert (run.began_s, run.first_byte_s, run.ended_s) == (100.0, 100.2, 100.5)
    assert (run.outcome, run.status) == (Outcome.ANSWERED, 200)
    assert (run.usage.tokens_in, run.usage.tokens_out) == (3, 4)


def test_lines_of_nginx_are_of_the_wall_clock(monkeypatch):
    set_by(monkeypatch, 3600)
    (run,) = ended(line(ended=3700.5))
    told = (run.began_s, run.first_byte_s, run.ended_s)
    assert told == pytest.approx((100.0, 100.2, 100.5), abs=0.1)
    (shown,) = [record(each) for each in (run,)]
    assert shown.began_at.timestamp() == pytest.approx(3700.0, abs=0.1)
    under_way = dict(
        Carried(Activity(lambda: 101.0)).under_way([UNDER_WAY | {"began_s": 3699.0}], 0.0)
    )
    assert [each.began_s for each in under_way.values()] == [pytest.approx(99.0, abs=0.1)]


def test_the_first_byte_never_follows_the_end():
    # nginx rounds the two from two clocks.
    (run,) = ended(line(total=0.201, header="0.202"))
    assert run.first_byte_s == run.ended_s


def test_a_line_says_whose_key_it_was():
    (run, other) = ended(line('"stream":false,"key":"abcd1234"'), line())
    assert (run.key, other.key) == ("abcd1234", None)


def test_what_a_stream_said_at_its_beginning_counts_too():
    told = '"stream":true,"begun":{"usage":{"input_tokens":7,"output_tokens":1}}'
    (run,) = ended(line(told + ',"usage":{"output_tokens":9}'))
    assert (run.usage.tokens_in, run.usage.tokens_out) == (7, 9)


def test_how_a_request_ended():
    lines = [
        line(status=499, completion=""),
        line(completion=""),
        line('"stream":true,"died":true'),
        line('"stream":true,"ended":true', completion=""),
        line(status=404),
    ]
    assert [(run.outcome, run.status) for run in ended(*lines)] == [
        (Outcome.CLIENT_GONE, None),
        (Outcome.CLIENT_GONE, None),
        (Outcome.SERVER_DIED, 200),
        (Outcome.ENDED, 200),
        (Outcome.ANSWERED, 404),
    ]


def test_lines_that_are_none_are_counted():
    activity = Activity(lambda: 101.0)
    Carried(activity).ended([b"[1", b"{}", line()], 7)
    assert (activity.ended, len(activity.recent), activity.missed) == (10, 1, 9)


UNDER_WAY = {
    "serial": "77-1",
    "instance": "a-1",
    "model": "a",
    "asked": "else",
    "client": "10.0.0.9",
    "path": "/v1/chat/completions",
    "began_s": 99.0,
}


def test_what_is_under_way_is_shown_and_keeps_its_number():
    activity = Activity(lambda: 101.0)
    carried = Carried(activity)
    ((serial, run),) = carried.under_way([UNDER_WAY], 0)
    assert (serial, run.id, activity.running) == ("77-1", 1, (run,))
    assert [*carried.under_way([UNDER_WAY], 1)] == []
    assert [*carried.under_way([], 2)] == []
    carried.ended([line('"stream":true,"serial":"77-1"')], 0)
    assert (activity.running, activity.recent) == ((), (run,))
    assert (run.streaming, run.ended_s, run.first_byte_s) == (True, 100.5, 100.2)


def test_what_ended_without_a_line_is_not_shown_for_ever():
    activity = Activity(lambda: 101.0)
    carried = Carried(activity)
    ((_, run),) = carried.under_way([UNDER_WAY], 0)
    for now_s in (1, LINE_S_MAX + 2):
        assert [*carried.under_way([], now_s)] == []
    assert (activity.running, run.outcome) == ((), Outcome.FAILED)
