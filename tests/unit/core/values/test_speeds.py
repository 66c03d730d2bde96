import pytest

from orchestrator.core.values.speeds import Expected, Figure

RATE = Expected(generation_tokens_per_second=45.0, load_seconds=10.0, bound=0.1)


@pytest.mark.parametrize(
    ("figure", "measured", "drifting", "worse"),
    [
        (Figure.GENERATION, 40.6, False, False),
        (Figure.GENERATION, 40.4, False, True),
        (Figure.GENERATION, 99.0, False, False),
        (Figure.GENERATION, 42.0, True, True),  # one that drifts is back nearer to what is expected
        (Figure.GENERATION, 43.0, True, False),
        (Figure.LOAD, 10.9, False, False),
        (Figure.LOAD, 11.1, False, True),
        (Figure.LOAD, 10.6, True, True),
        (Figure.LOAD, 1.0, True, False),
        (Figure.PROMPT, 0.1, False, False),  # nothing is expected of it
    ],
)
def test_what_is_worse_by_more_than_the_bound(figure, measured, drifting, worse):
    assert RATE.is_worse(figure, measured, drifting=drifting) is worse
