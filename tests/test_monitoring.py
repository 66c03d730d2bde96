"""Alerts and dashboard name figures that there are, and say what they mean when they should."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.metrics.parts import figured

MONITORING = Path(__file__).parents[1] / "deploy" / "monitoring"
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text())
CASES = yaml.safe_load((MONITORING / "alerts.test.yml").read_text())
DASHBOARD = json.loads(
    (MONITORING / "grafana" / "dashboards" / "vram-orchestrator.json").read_text()
)
NAME = re.compile(r"\b(?:orchestrator|llamacpp|process)_\w+")
PARTS_OF_A_HISTOGRAM = re.compile(r"_(?:bucket|count|sum)$")
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]


def expressions():
    yield from (rule["expr"] for rule in RULES)
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (noted["expr"] for noted in DASHBOARD["annotations"]["list"])
    queries = (variable["query"] for variable in DASHBOARD["templating"]["list"])
    yield from (query["query"] for query in queries if isinstance(query, dict))


def test_every_panel_and_rule_uses_an_exported_name(tmp_path):
    with figured(tmp_path) as office:
        exported = office.names()
    used = {name for text in expressions() for name in NAME.findall(text)}
    unknown = {name for name in used if not {name, PARTS_OF_A_HISTOGRAM.sub("", name)} & exported}
    assert len(used) > 20
    assert unknown == set()


def test_the_dashboard_has_fifteen_panels_that_do_not_overlap():
    assert len(DASHBOARD["panels"]) == 15
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_has_a_sentence_and_a_case_that_fires_and_one_that_is_silent():
    names = [rule["alert"] for rule in RULES]
    assert [case["name"] for case in CASES["tests"]] == [
        f"{name} {how}" for name in names for how in ("fires", "is silent")
    ]
    for rule in RULES:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")


@pytest.mark.promtool
def test_alerts_fire_when_they_should_and_are_silent_else():
    for words in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")):
        done = subprocess.run(
            ["promtool", *words], cwd=MONITORING, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.promtool
def test_configuration_of_prometheus_is_right():
    words = ["promtool", "check", "config", "prometheus.yml"]
    done = subprocess.run(words, cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
