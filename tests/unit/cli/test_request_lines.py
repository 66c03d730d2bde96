"""Requests as the terminal shows them."""

from orchestrator.cli.request_lines import cancelled_lines, request_lines
from orchestrator.web.wire import examples


def shown(**changes):
    return {**examples.REQUESTS, **changes}


def text(requests):
    return "\n".join(map(str, request_lines(requests)))


def rows(requests):
    table = request_lines(requests)[0]
    return list(zip(*([str(cell) for cell in one.cells] for one in table.columns), strict=True))


def test_nothing_is_said_to_be_nothing():
    assert request_lines(shown(running=[], ended=[])) == ["No request is known."]


def test_figures_stand_in_columns():
    figures = {
        **examples.REQUEST,
        "model": "qwen",
        "outcome": "answered",
        "status": 200,
        "tokens_in": 3,
        "tokens_out": None,
    }
    (row,) = rows(shown(running=[], ended=[figures]))
    assert row[2] == "qwen"
    assert row[4] == "answered"
    assert row[8:10] == ("3", "-")


def test_what_is_under_way_says_what_it_waits_for():
    waits = {**examples.REQUEST, "model": None, "outcome": None, "why": "qwen waits for its load"}
    answers = {**examples.REQUEST, "model": "qwen", "outcome": None}
    outcomes = [row[4] for row in rows(shown(running=[waits, answers], ended=[]))]
    assert outcomes == ["waits: qwen waits for its load", "under way"]


def test_what_is_not_shown_is_counted():
    said = text(shown(running=[], running_total=4, ended=[examples.REQUEST], not_kept=7))
    assert "Under way and not shown: 4." in said
    assert "Ended and not kept since the start: 7." in said


def test_an_end_is_said():
    assert cancelled_lines({"id": 3, "status": "ending"}) == ["Request 3 is being ended."]
    assert cancelled_lines({"id": 3, "status": "over"}) == ["Request 3 had ended already."]
