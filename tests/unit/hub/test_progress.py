from orchestrator.hub.progress import Meter, Patience, Phase, Progress


def test_a_meter_counts_and_tells() -> None:
    told: list[Progress] = []
    meter = Meter(told.append, Patience())
    meter.expect(100)
    meter.say(Phase.DOWNLOADING, file="a.gguf")
    meter.count(60)
    meter.count(-20)
    meter.say(Phase.CHECKING)
    assert told == [
        Progress(phase=Phase.DOWNLOADING, file="a.gguf", total_bytes=100),
        Progress(phase=Phase.CHECKING, file="a.gguf", done_bytes=40, total_bytes=100),
    ]


def test_a_pause_tells_every_second_and_lasts_as_long_as_said() -> None:
    told: list[Progress] = []
    slept: list[float] = []
    Meter(told.append, Patience(sleep=slept.append)).pause(2.5, "busy")
    assert slept == [1, 1, 0.5]
    assert {(each.phase, each.detail) for each in told} == {(Phase.PAUSED, "busy")}
