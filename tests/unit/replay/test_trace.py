import pytest

from orchestrator.core.values.specs import ModelName
from orchestrator.replay.trace import Demand, ServedDemand, Tally, at_quantile


@pytest.mark.parametrize(
    ("share", "found"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.95, 4.0), (1.0, 4.0)]
)
def test_a_quantile_is_one_of_the_numbers(share, found):
    assert at_quantile([1.0, 2.0, 3.0, 4.0], share) == found


def test_of_nothing_there_is_no_quantile():
    assert at_quantile([], 0.5) == 0.0


def test_an_outcome_counts_everything_that_was_asked():
    demand = Demand(at_s=1.0, model=ModelName("a"), serves_s=1.0)
    came = [ServedDemand(demand=demand, waited_s=wait_s, ended_s=9.0) for wait_s in (3.0, 1.0)]
    tally = Tally(
        answered=tuple(came),
        refused={"does_not_fit": 2},
        lost_s=(0.0, 2.0),
        loads=1,
        evictions=0,
        reload_s=4.0,
        lasted_s=8.0,
        loaded_s=4.0,
    )
    assert tally.asked == 4
    assert tally.waits_s == [0.0, 1.0, 2.0, 3.0]
    assert tally.models_loaded == 0.5
