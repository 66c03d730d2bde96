from orchestrator.config.sections import SchedulingSettings
from orchestrator.core.values.rules import Rules


def test_a_long_load_earns_more_patience():
    rules = Rules(patience_s=60, patience_loads=10)
    assert [rules.patience_for(load_s) for load_s in (1, 6, 30)] == [60, 60, 300]


def test_a_short_load_earns_less_residency():
    rules = Rules(min_residency_s=10, min_residency_loads=4)
    assert [rules.residency_for(load_s) for load_s in (0.5, 2, 30)] == [2, 8, 10]


def test_what_the_core_takes_for_granted_is_what_ships():
    assert SchedulingSettings().rules == Rules()
