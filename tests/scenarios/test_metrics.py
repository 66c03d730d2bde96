"""The figures of the real daemon, as Prometheus would read them."""

import json
import shutil
import subprocess
import time

import httpx
import pytest
import yaml

from tests.scenarios.daemon import ROOT, chat, free_port, model
from tests.unit.metrics.parts import samples

CHAT = "/v1/chat/completions"
MONITORING = ROOT / "deploy" / "monitoring"


def figures(daemon):
    answer = daemon.http.get("/metrics")
    assert answer.status_code == 200
    return samples(answer.content)


def figure(daemon, name, **labels):
    return figures(daemon).get((name, tuple(sorted(labels.items()))))


def until(daemon, name, at_least, **labels):
    """A look at servers takes place every two seconds."""
    deadline = time.monotonic() + 60
    while (figure(daemon, name, **labels) or 0) < at_least:
        assert time.monotonic() < deadline, (name, figures(daemon))
        time.sleep(0.1)


def test_scrape_does_not_touch_idle_timer(daemons):
    daemon = daemons({"a": model(4000, ttl_seconds=3)})
    daemon.post("/models/load", {"model": "a"})
    deadline = time.monotonic() + 60
    while figure(daemon, "orchestrator_evictions_total", model="a", reason="ttl") != 1:
        assert time.monotonic() < deadline, daemon.log()
        time.sleep(0.05)


def test_tokens_and_requests_go_on_across_reloads(daemons):
    daemon = daemons({"a": model(4000)})
    for _ in range(2):
        assert daemon.post(CHAT, {"model": "a", **chat(4)}).status_code == 200
        until(daemon, "llamacpp_tokens_generated_total", 1, model="a")
        written = figure(daemon, "llamacpp_tokens_generated_total", model="a")
        daemon.post("/models/unload", {"model": "a"})
    assert daemon.post(CHAT, {"model": "a", **chat(4)}).status_code == 200
    until(daemon, "llamacpp_tokens_generated_total", written + 1, model="a")
    assert figure(daemon, "llamacpp_requests_total", model="a", status="success") == 3
    assert figure(daemon, "orchestrator_time_to_first_byte_seconds_count", model="a") == 3
    assert figure(daemon, "orchestrator_loads_total", model="a", result="ready") == 3


@pytest.mark.prometheus
def test_a_real_prometheus_scrapes_and_answers(daemons, tmp_path):
    daemon = daemons({"a": model(4000)})
    daemon.post("/models/load", {"model": "a"})
    assert daemon.post(CHAT, {"model": "a", **chat(1)}).status_code == 200
    # As it is shipped, but for who is asked and how often.
    settings = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (job,) = settings["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{daemon.port}"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    port = free_port()
    server = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as prometheus:
            query = 'orchestrator_residents{state="ready"} and on () (up{job="orchestrator"} == 1)'
            found = until_found(prometheus, "/api/v1/query", {"query": query}, "result")
            assert [one["value"][1] for one in found] == ["1"]
            groups = until_found(prometheus, "/api/v1/rules", {}, "groups")
            health = {rule["health"] for group in groups for rule in group["rules"]}
            assert "err" not in health
            shown = {title for title, query in panels() if answered(prometheus, query)}
            assert shown >= {
                "VRAM by holder",
                "A load may use",
                "Waiting now",
                "Residents by state",
            }
            daemon.kill()
            query = 'ALERTS{alertname="OrchestratorDown", alertstate="pending"}'
            until_found(prometheus, "/api/v1/query", {"query": query}, "result")
    finally:
        server.terminate()
        server.wait(60)


def panels():
    """Every query of the dashboard, its variables filled in as Grafana does."""
    path = MONITORING / "grafana" / "dashboards" / "vram-orchestrator.json"
    for panel in json.loads(path.read_text())["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$device", ".*")
            yield panel["title"], query.replace("$__rate_interval", "1m").replace("$__range", "1h")


def answered(prometheus, query):
    """Whether there is something to draw; a query that is wrong is none."""
    answer = prometheus.get("/api/v1/query", params={"query": query})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]["result"]


def until_found(prometheus, path, parameters, name):
    deadline = time.monotonic() + 120
    while True:
        try:
            found = prometheus.get(path, params=parameters).json()["data"][name]
        except (httpx.TransportError, ValueError, KeyError):
            found = []
        if found:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.2)
