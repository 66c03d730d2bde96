"""GET /requests and what belongs to it."""

import pytest

from orchestrator.records import Outcome, Usage


def begin(office, asked="a", **more):
    activity = office.desk.activity
    return activity.begin(asked, protocol="openai", path="/v1/x", client="127.0.0.1", **more)


def end(office, run, outcome=Outcome.ANSWERED, status=200, usage=None):
    office.desk.activity.end(run, outcome, status, usage)


def test_those_under_way_come_first(office):
    end(office, begin(office), usage=Usage(3, 5, 12.5))
    running = begin(office, "b", owner="me", streaming=True)
    body = office.asked("GET", "/requests").json()
    assert [each["id"] for each in body["running"]] == [running.id]
    (ended,) = body["ended"]
    assert (ended["outcome"], ended["tokens_in"], ended["tokens_per_second"]) == (
        "answered",
        3,
        12.5,
    )
    assert (body["running_total"], body["next_before"], body["not_kept"]) == (1, None, 0)


def test_pages_and_filters(office):
    for number in range(5):
        end(office, begin(office, "a" if number % 2 else "b", owner=f"o{number}"))
    first = office.asked("GET", "/requests?limit=2").json()
    assert [each["asked"] for each in first["ended"]] == ["b", "a"]
    second = office.asked("GET", f"/requests?limit=2&before={first['next_before']}").json()
    assert [each["asked"] for each in second["ended"]] == ["b", "a"]
    only = office.asked("GET", "/requests?owner=o3&outcome=answered&protocol=openai&model=a").json()
    assert [each["owner"] for each in only["ended"]] == ["o3"]
    assert office.asked("GET", "/requests?client=10.0.0.1").json()["ended"] == []


def test_one_request_is_found_and_ended(office):
    run, cancelled = begin(office), []
    run.cancel = lambda: cancelled.append(run)
    assert office.asked("GET", f"/requests/{run.id}").json()["outcome"] is None
    answer = office.asked("POST", f"/requests/{run.id}/cancel")
    assert (answer.status_code, answer.json()) == (200, {"id": run.id, "status": "ending"})
    assert cancelled == [run]
    end(office, run, Outcome.FAILED, 503)
    assert office.asked("POST", f"/requests/{run.id}/cancel").json()["status"] == "over"
    assert office.asked("GET", f"/requests/{run.id}").json()["outcome"] == "ended"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_that_is_not_known(office, method):
    path = "/requests/999" if method == "GET" else "/requests/999/cancel"
    answer = office.asked(method, path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "before=-1", "before=x", "outcome=lost", "owner=" + "x" * 300]
)
def test_what_makes_no_sense_is_refused(office, query):
    assert office.asked("GET", f"/requests?{query}").status_code == 422
