from dataclasses import replace

from orchestrator.cli.screen import say
from orchestrator.cli.simulation_lines import simulation_json, simulation_lines
from orchestrator.replay.history import read_trace
from orchestrator.replay.scenarios import Scenario
from orchestrator.replay.trace import ServedDemand, Tally
from tests.unit.replay.histories import turns

TRACE = read_trace(turns(2).splitlines())
SCENARIO = Scenario(title="48 GB", devices=TRACE.devices)


def tally(*waits_s, **more):
    answered = tuple(
        ServedDemand(demand=TRACE.demands[0], waited_s=waited_s, ended_s=1.0)
        for waited_s in waits_s
    )
    figures = {"refused": {}, "loads": 4, "evictions": 3, "reload_s": 40.0} | more
    return Tally(answered=answered, **figures)


def said(capsys, replayed, other, trace=TRACE):
    say(*simulation_lines(trace, (SCENARIO, replayed), [(SCENARIO, other)]))
    return capsys.readouterr().out


def test_the_columns_are_as_it_was_replayed_and_the_scenarios(capsys):
    lines = said(capsys, tally(1.0, 9.0), tally(0.0, 2.0, loads=2)).splitlines()
    head, rows = lines[2], {line[:24].strip(): line[24:].split() for line in lines[3:]}
    assert head.split() == ["as", "it", "was", "replayed", "48", "GB"]
    assert rows["loads"] == ["0", "4", "2"]
    assert rows["waited, longest"] == ["0.0", "s", "9.0", "s", "2.0", "s"]


def test_figures_stand_below_each_other(capsys):
    lines = said(capsys, tally(1.0), tally(2.0)).splitlines()
    assert len({len(line) for line in lines[2:13]}) == 1


def test_what_differs_is_said_in_a_sentence(capsys):
    lines = said(capsys, tally(1.0, 9.0), tally(0.0, 2.0, loads=2)).splitlines()
    assert lines[-1] == ("48 GB: loads 4 → 2 (-50%); waiting, all together 10 s → 2.0 s (-80%).")


def test_what_hardly_differs_is_said_not_to(capsys):
    assert said(capsys, tally(100.0), tally(101.0)).splitlines()[-1] == (
        "48 GB: no difference in loads; no difference in waiting, all together."
    )


def test_requests_that_would_be_lost_are_said(capsys):
    lost = said(capsys, tally(1.0), tally(1.0, refused={"does_not_fit": 3}))
    assert "48 GB: requests not answered 0 → 3; no difference in loads" in lost


def test_what_is_left_out_is_said(capsys):
    trace = replace(TRACE, undescribed={"gone": 2, "x": 1}, not_kept=1)
    lines = said(capsys, tally(1.0), tally(1.0), trace).splitlines()
    assert lines[-2:] == [
        "Left out: 3 requests for what is no model now (gone, x).",
        "Missing: 1 request that the daemon did not keep.",
    ]


def test_programs_get_the_same_figures():
    told = simulation_json(TRACE, (SCENARIO, tally(1.0, 9.0)), [(SCENARIO, tally())])
    assert told["replayed"]["wait_seconds"] == {"p50": 1.0, "p95": 9.0, "max": 9.0, "sum": 10.0}
    assert told["scenarios"][0]["wait_seconds"]["max"] == 0.0
    assert told["as_it_was"]["answered"] == 2
