from orchestrator.config.sections import AbandonedLoad, SchedulingSettings
from orchestrator.core.values.rules import Rules


def test_defaults_are_the_rules_of_the_core():
    assert SchedulingSettings().rules == Rules()


def test_an_abandoned_load_may_be_cancelled():
    assert SchedulingSettings(abandoned_load=AbandonedLoad.CANCEL).rules.cancel_abandoned
