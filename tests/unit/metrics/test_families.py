import subprocess

import pytest
from prometheus_client import generate_latest

from orchestrator.metrics.families import Families


def made():
    families = Families()
    families.seed(models=["a", "b"], devices=["g0"], runtimes=["process"])
    return families


def test_what_was_seeded_stays_as_it_is():
    families = made()
    families.loads.labels("a", "ready").inc()
    families.seed(models=["a"], devices=["g0"], runtimes=["process"])
    labels = {"model": "a", "result": "ready"}
    assert families.registry.get_sample_value("orchestrator_loads_total", labels) == 1


def test_two_daemons_in_one_process_share_nothing():
    one, other = made(), made()
    one.loads.labels("a", "ready").inc()
    labels = {"model": "a", "result": "ready"}
    assert other.registry.get_sample_value("orchestrator_loads_total", labels) == 0


def test_no_line_says_when_a_counter_was_made():
    assert b"_created" not in generate_latest(made().registry)


@pytest.mark.promtool
def test_promtool_finds_nothing_to_complain_of():
    text = generate_latest(made().registry)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr.decode()) == (0, "")
