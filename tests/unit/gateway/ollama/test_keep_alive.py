import pytest

from orchestrator.gateway.ollama.keep_alive import FOR_EVER_S, idle_s


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (0, 0),
        (300, 300),
        (2.5, 2.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("90s", 90),
        ("250ms", 0.25),
        ("0", 0),
        ("300", 300),
        (-1, FOR_EVER_S),
        ("-1", FOR_EVER_S),
        ("-1m", FOR_EVER_S),
        ("9999999h", FOR_EVER_S),
        (1e300, FOR_EVER_S),
    ],
)
def test_seconds_and_durations(said, seconds):
    assert idle_s(said) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "said", ["", "soon", "5 m", "m", "5d", "1h-3m", "9" * 100, True, float("nan")]
)
def test_what_is_no_time_is_refused(said):
    with pytest.raises(ValueError, match="should be"):
        idle_s(said)
