import json

import pytest

from orchestrator.cli.main import main
from orchestrator.replay.history import read_trace
from orchestrator.web.wire import examples
from tests.stand_in import stand_in

REQUEST = examples.REQUESTS["ended"][0] | {"began_at": "2026-01-15T12:00:00.000Z"}
DECISION = examples.EVENTS["events"][0]
NO_MORE = {"events": [], "next_before": None}


@pytest.fixture
def daemon():
    with stand_in() as remembered:
        model = examples.CATALOGUE["data"][0] | {"id": REQUEST["model"], "vram_mb": 9000}
        ended = {**examples.REQUESTS, "ended": [REQUEST], "next_before": None}
        remembered.answers["GET /requests?limit=1"] = ended
        remembered.answers["GET /devices"] = examples.DEVICES
        remembered.answers["GET /models"] = {"object": "list", "data": [model]}
        remembered.answers["GET /requests?limit=500"] = ended
        remembered.answers["GET /events?limit=500"] = NO_MORE
        yield remembered


def exported(daemon, capsys):
    assert main(["events", "--export", "--url", daemon.url]) == 0
    return capsys.readouterr().out


def test_what_is_exported_can_be_replayed(daemon, capsys):
    trace = read_trace(exported(daemon, capsys).splitlines())
    assert [demand.model for demand in trace.demands] == [REQUEST["model"]]
    assert len(trace.devices) == len(examples.DEVICES["devices"])


def test_whose_a_request_was_is_not_in_it(daemon, capsys):
    said = exported(daemon, capsys)
    assert REQUEST["client"] not in said
    assert "owner" not in said


def test_all_pages_are_read(daemon, capsys):
    older = {**REQUEST, "id": 1, "began_at": "2026-01-15T11:00:00.000Z"}
    shown = daemon.answers["GET /requests?limit=500"]
    daemon.answers["GET /requests?limit=500"] = {**shown, "next_before": REQUEST["id"]}
    daemon.answers[f"GET /requests?limit=500&before={REQUEST['id']}"] = {**shown, "ended": [older]}
    assert len(read_trace(exported(daemon, capsys).splitlines()).demands) == 2


def test_decisions_before_the_first_request_are_left_out(daemon, capsys):
    late, early = ({**DECISION, "at": f"2026-01-15T1{hour}:00:00Z"} for hour in (3, 1))
    daemon.answers["GET /events?limit=500"] = {"events": [late, early], "next_before": 7}
    lines = [json.loads(line) for line in exported(daemon, capsys).splitlines()]
    assert [line["at"] for line in lines if line["type"] == "decision"] == [late["at"]]


def test_an_answer_that_is_none_of_ours_is_said_to_be(daemon, capsys):
    daemon.answers["GET /devices"] = {"cards": []}
    assert main(["events", "--export", "--url", daemon.url]) == 1
    assert "is not what this version expects" in capsys.readouterr().err


def test_it_is_not_followed(daemon, capsys):
    with pytest.raises(SystemExit):
        main(["events", "--export", "--follow", "--url", daemon.url])
    assert "not allowed with" in capsys.readouterr().err
