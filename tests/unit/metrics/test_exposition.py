"""What Prometheus reads, of a whole desk on a machine in memory."""

from dataclasses import replace

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.vram import MiB
from orchestrator.metrics.families import EVICTION_REASONS, LOAD_RESULTS, REQUEST_STATUSES
from tests.unit.metrics.parts import figured
from tests.unit.web.samples import GPU, TOTAL_MB, spec

ROOM = {"vram_mb": 1000, "ttl_seconds": 600}


def test_every_combination_of_the_configuration_is_there_at_0_from_the_start(tmp_path):
    with figured(tmp_path) as office:
        said = office.samples()
    expected = {
        *(("orchestrator_refusals_total", (("code", code),)) for code in RefusalCode),
        *(("orchestrator_leases", (("kind", kind),)) for kind in ("request", "owner", "room")),
    }
    for model in ("a", "b"):
        of = ("model", model)
        expected |= {
            *(("orchestrator_loads_total", (of, ("result", one))) for one in LOAD_RESULTS),
            *(("orchestrator_deaths_total", (of, ("reason", one))) for one in FailureReason),
            *(("orchestrator_evictions_total", (of, ("reason", one))) for one in EVICTION_REASONS),
            *(("llamacpp_requests_total", (of, ("status", one))) for one in REQUEST_STATUSES),
            ("orchestrator_breaker_open", (of,)),
            ("orchestrator_queue_depth", (of,)),
            ("orchestrator_load_duration_seconds_count", (of,)),
            ("orchestrator_time_to_first_byte_seconds_count", (of,)),
            ("llamacpp_requests_duration_seconds_count", (of,)),
            ("llamacpp_prompt_tokens_total", (of,)),
            ("llamacpp_tokens_generated_total", (of,)),
            ("llamacpp_scrape_errors_total", (of,)),
        }
    assert {key: said.get(key) for key in expected} == dict.fromkeys(expected, 0.0)
    assert said["orchestrator_build_info", (("version", "1.2.3"),)] == 1


def test_what_was_loaded_counts_and_what_is_held_sums_up(tmp_path):
    with figured(tmp_path) as office:
        office.asked("POST", "/models/load", json={"model": "a"})
        office.asked("POST", "/models/load", json={"model": "a"})
        office.asked("POST", "/vram/leases", json={**ROOM, "owner": "me"})
        office.pass_s(3)
        office.run(office.conductor.sensors.sample())
        said = office.samples()
        charged = office.desk.snapshot().accounts[0].charged_bytes
    assert said["orchestrator_loads_total", (("model", "a"), ("result", "ready"))] == 1
    assert said["orchestrator_load_duration_seconds_count", (("model", "a"),)] == 1
    assert said["orchestrator_wait_seconds_count", (("outcome", "granted"),)] == 3
    assert said["orchestrator_residents", (("state", "ready"),)] == 1
    assert said["orchestrator_leases", (("kind", "room"),)] == 1
    held = {
        dict(labels)["holder"]: value
        for (name, labels), value in said.items()
        if name == "orchestrator_vram_held_bytes"
    }
    assert held == {"a": 6000 * MiB, "room": 1000 * MiB, "foreign": 0}
    assert sum(held.values()) == charged
    assert said["orchestrator_device_vram_total_bytes", (("device", GPU),)] == TOTAL_MB * MiB
    assert said["orchestrator_device_up", (("device", GPU),)] == 1


def test_an_owner_is_no_label(tmp_path):
    with figured(tmp_path) as office:
        order = {"model": "a", "owner": "secret-owner"}
        office.asked("POST", "/models/load", json=order)
        office.asked("POST", "/vram/leases", json={**ROOM, "owner": "secret-owner"})
        assert b"secret" not in office.run(office.exposition.text())


def test_a_swap_counts_who_left_and_what_it_cost_to_come_back(tmp_path):
    models = (spec("a", mb=20000), spec("b", mb=20000))
    with figured(tmp_path, models=models) as office:
        for name in ("a", "b", "a"):
            assert office.asked("POST", "/models/load", json={"model": name}).status_code == 200
            office.pass_s(20)
        assert office.value("orchestrator_evictions_total", model="a", reason="room") == 1
        assert office.value("orchestrator_evictions_total", model="b", reason="room") == 1
        assert office.value("orchestrator_stops_total", runtime="fake", result="verified") == 2
        assert office.value("orchestrator_vram_release_seconds_count", device=GPU) == 2
        assert office.value("orchestrator_reload_seconds_total", model="b") == 0
        assert office.samples()["orchestrator_reload_seconds_total", (("model", "a"),)] >= 0


def test_an_unload_and_an_idle_end_are_told_apart(tmp_path):
    with figured(tmp_path, models=(spec("a", ttl_s=5.0), spec("b"))) as office:
        for name in ("a", "b"):
            office.asked("POST", "/models/load", json={"model": name})
        office.asked("POST", "/models/unload", json={"model": "b"})
        office.pass_s(30)
        assert office.value("orchestrator_evictions_total", model="a", reason="ttl") == 1
        assert office.value("orchestrator_evictions_total", model="b", reason="operator") == 1
        assert office.value("orchestrator_residents", state="ready") == 0


def test_scrape_does_not_touch_idle_timer(tmp_path):
    with figured(tmp_path, models=(spec("a", ttl_s=10.0),)) as office:
        office.asked("POST", "/models/load", json={"model": "a"})
        (before,) = office.desk.snapshot().residents
        for _ in range(9):
            office.pass_s(1)
            assert office.value("orchestrator_residents", state="ready") == 1
        (after,) = office.desk.snapshot().residents
        assert (after.last_used_s, after.busy) == (before.last_used_s, False)
        office.pass_s(5)
        assert office.value("orchestrator_residents", state="ready") == 0


def test_a_model_that_is_added_is_there_at_0_with_the_next_reading(tmp_path):
    with figured(tmp_path) as office:
        assert office.value("orchestrator_queue_depth", model="c") is None
        office.config = replace(office.config, catalogue={"a": spec("a"), "c": spec("c")})
        office.asked("POST", "/admin/reload")
        assert office.value("orchestrator_queue_depth", model="c") == 0
        assert office.value("orchestrator_loads_total", model="c", result="ready") == 0
        assert office.value("orchestrator_loads_total", model="b", result="ready") == 0
