from dataclasses import replace

import pytest

from orchestrator.catalogue.predictions import Predictions, UnderSettings
from orchestrator.catalogue.sizing import Appraisal
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.specs import (
    Degrading,
    FakeBehaviour,
    FakeFailure,
    Fallback,
    Profile,
)
from orchestrator.core.values.vram import DeviceId, MiB
from orchestrator.gguf.footprint import Estimate, Method, Share
from orchestrator.gguf.headers import Headers
from tests.unit.web.office import Office
from tests.unit.web.samples import spec

SLOW = replace(spec("a", load_s=4.0), fake=FakeBehaviour(load_s=4.0))
HUGE = spec("huge", mb=99_000)
SUGGESTED = ({"context_size": 2048}, {"cache_type": "q8_0"})
GIVEN_UP = "context 2048 instead of 4096"


class Telling(Predictions):
    """Knows what fits, and what a file takes."""

    def __init__(self):
        super().__init__(Headers())
        self.appraised = []

    def suggestions(self, spec, room_bytes, **_):
        return SUGGESTED

    def under(self, serving, spec):
        """Under settings other than its own, it is small."""
        small = Footprint(device_bytes=1000 * MiB)
        if serving != spec.serving:
            return UnderSettings(small)
        less = replace(serving, context_size=2048)
        step = Fallback(serving=less, footprint=small, given_up=(GIVEN_UP,))
        return UnderSettings(spec.footprint, spec.footprint, (step,))

    def footprint(self, spec):
        return spec.footprint

    def appraise(self, spec):
        self.appraised.append(spec)
        on_gpu = Share(400 * MiB, 100 * MiB, 50 * MiB, 600 * MiB)
        parts = Estimate("llama", Method.HEADER, (on_gpu,), Share(compute_bytes=30 * MiB))
        return Appraisal(spec, parts, Footprint(device_bytes=1150 * MiB))


def load(office, status=200, **body):
    answer = office.asked("POST", "/models/load", json={"model": "a", **body})
    assert answer.status_code == status, answer.text
    return answer


def test_load_answers_when_the_model_is_ready(tmp_path):
    with Office(tmp_path, models=(SLOW,)) as office:
        answer = load(office)
        (resident,) = office.loaded().values()
    assert 4 <= answer.json()["waited_seconds"] < 5
    assert answer.json() == {
        "success": True,
        "model": "a",
        "service": "rehearsal",
        "status": "loaded",
        "loaded_at": answer.json()["loaded_at"],
        "endpoint": resident.endpoint.url,
        "vram_mb": 6000,
        "devices": [{"device": "fake-0", "vram_mb": 6000}],
        "evicted": [],
        "already_loaded": False,
        "waited_seconds": answer.json()["waited_seconds"],
    }
    assert "2026-01-15T10:30:04" <= answer.json()["loaded_at"] < "2026-01-15T10:30:05"


def test_load_takes_every_field_also_as_strings(office):
    body = {
        "model": "bee",
        "service": "rehearsal",
        "priority": "7",
        "wait": "30",
        "ttl_seconds": "600",
        "owner": "workflow-3",
        "lease_seconds": "60",
        "profile": "fast",
        "context_size": 2048.0,
        "gpu_layers": "all",
        "cache_type": "q8_0",
        "pin": "true",
    }
    told = load(office, **body).json()
    resident, moment = office.loaded()["b"], office.desk.snapshot()
    assert (resident.priority, resident.ttl_s, moment.pinned) == (7, 600.0, {"b"})
    (lease,) = moment.leases
    assert (lease.id, lease.owner) == (told["lease_id"], "workflow-3")
    assert told["expires_at"] == "2026-01-15T10:31:00.000Z"
    assert (resident.spec.profile, resident.spec.serving.context_size) == (Profile.FAST, 2048)
    assert resident.spec.serving.cache_type_v == "q8_0"


@pytest.mark.parametrize(
    "more",
    [
        {"json": {"model": "a", "wait": False}},
        {"json": {"model": "a", "wait": "false"}},
        {"json": {"model": "a"}, "headers": {"Prefer": "respond-async, wait=5"}},
    ],
)
def test_load_is_accepted_only_when_asked(office, more):
    answer = office.asked("POST", "/models/load", **more)
    assert answer.status_code == 202
    operation = answer.json()["operation_id"]
    assert answer.json() == {
        "success": True,
        "model": "a",
        "status": "loading",
        "operation_id": operation,
        "status_url": f"/operations/{operation}",
        "eta_seconds": 10.0,
    }
    applied = answer.headers.get("Preference-Applied")
    assert applied == ("respond-async" if "headers" in more else None)
    office.pass_s(1)
    assert office.asked("GET", f"/operations/{operation}").json()["status"] == "succeeded"


def test_asynchronous_load_of_what_is_loaded_says_so(office):
    load(office)
    assert load(office, wait=False).json()["already_loaded"] is True


def test_load_deadline_names_the_operation_and_the_load_goes_on(tmp_path):
    with Office(tmp_path, models=(SLOW,)) as office:
        answer = load(office, 503, wait=0.5)
        assert answer.headers["Retry-After"] == "4"
        body = answer.json()
        assert body["code"] == "load_deadline"
        assert body["error"]["message"].startswith("a is not ready after 0.5 s; the load goes on.")
        assert "It waits for: its load." in body["detail"]
        assert body["waits_for"] == "its load"
        office.pass_s(4)
        ended = office.asked("GET", f"/operations/{body['operation_id']}").json()
        assert ended["status"] == "succeeded"


def test_failed_load_carries_its_cause_and_its_log(tmp_path):
    broken = replace(spec("a"), fake=FakeBehaviour(load_s=1, fail=FakeFailure.EXITS))
    with Office(tmp_path, models=(broken,)) as office:
        body = load(office, 502).json()
        assert (body["cause"], body["log_tail"]) == ("exited", ["fake: a ends"])
        ended = office.asked("GET", f"/operations/{body['operation_id']}").json()
        assert (ended["status"], ended["code"]) == ("failed", "load_failed")


def test_caller_that_disconnects_does_not_cancel_the_load_and_keeps_no_lease(tmp_path):
    with Office(tmp_path, models=(SLOW,)) as office:
        office.leave_after_asking("/models/load", b'{"model": "a", "lease_seconds": 600}')
        assert office.asked("GET", "/models/status").json()["loaded_models"]["a"]["ready_at"]
        office.pass_s(5)
        assert office.asked("GET", "/models/a").json()["state"] == "loaded"
        assert office.desk.snapshot().leases == ()


def test_unload_tells_what_was_freed(office):
    load(office)
    answer = office.asked("POST", "/models/unload", json={"model": "a", "force": "true"})
    assert answer.json() == {
        "success": True,
        "status": "unloaded",
        "model": "a",
        "service": "rehearsal",
        "freed_mb": 6000,
        "verified": True,
        "remaining_leases": 0,
    }


def test_unload_takes_one_holder_only(office):
    body = {"model": "a", "owner": "x", "lease_id": "y"}
    answer = office.asked("POST", "/models/unload", json=body)
    assert answer.status_code == 422
    assert "not both" in answer.json()["detail"]


def test_unload_of_one_lease_leaves_the_model_to_the_other(office):
    first, second = (load(office, owner=owner).json()["lease_id"] for owner in "xy")
    answers = [
        office.asked("POST", "/models/unload", json={"model": "a", "lease_id": lease}).json()
        for lease in (first, second)
    ]
    assert [each["status"] for each in answers] == ["released", "unloaded"]
    assert answers[0]["remaining_leases"] == 1


def test_unload_in_use_is_a_conflict(office):
    load(office, owner="x")
    answer = office.asked("POST", "/models/unload", json={"model": "a", "wait": 3})
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")


def test_plan_says_what_would_happen_without_doing_it(office):
    before = office.state()
    answer = office.asked("POST", "/models/plan", json={"model": "a"})
    assert answer.json() == {
        "fits": True,
        "model": "a",
        "vram_mb": 6000,
        "available_mb": 32256,
        "evict": [],
        "placement": [{"device": "fake-0", "vram_mb": 6000}],
        "eta_seconds": 10.0,
        "already_loaded": False,
        "drains": False,
        "given_up": [],
        "refusal": None,
        "vram_provenance": "declared",
        "suggestions": [],
        "fitting_file": None,
    }
    assert office.state() == before


def test_plan_that_is_a_refusal_is_still_an_answer(tmp_path):
    with Office(tmp_path, models=(HUGE,)) as office:
        answer = office.asked("POST", "/models/plan", json={"model": "huge"})
    body = answer.json()
    assert (answer.status_code, body["fits"]) == (200, False)
    assert body["refusal"]["code"] == "does_not_fit"
    assert body["refusal"]["needed_mb"] == body["vram_mb"] == 99_000


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
def test_catalogue_has_the_shape_of_the_router(office, path):
    load(office)
    body = office.asked("GET", path).json()
    assert body["object"] == "list"
    assert {each["id"]: each["status"]["value"] for each in body["data"]} == {
        "a": "loaded",
        "b": "unloaded",
    }


@pytest.mark.parametrize("path", ["/models/bee", "/v1/models/bee"])
def test_one_model_is_found_by_alias(office, path):
    body = office.asked("GET", path).json()
    assert (body["id"], body["resident"], body["serving"]["context_size"]) == ("b", None, 4096)


def test_model_is_put_and_deleted(office):
    body = {"service": "rehearsal", "vram_mb": 5}
    answer = office.asked("PUT", "/models/c", json=body)
    assert (answer.status_code, answer.json()["id"]) == (200, "c")
    assert office.asked("DELETE", "/models/c").status_code == 204
    assert office.asked("GET", "/models/c").status_code == 404


def test_model_with_mistakes_is_refused_with_all_of_them(office):
    answer = office.asked("PUT", "/models/c", json={"vram_mb": -1, "prority": 2})
    assert answer.status_code == 422
    told = [each["message"] for each in answer.json()["mistakes"]]
    assert len(told) == 3
    assert any("did you mean priority" in each for each in told)


def test_pin_and_unpin(office):
    assert office.asked("PUT", "/models/bee/pin").json() == {"model": "b", "pinned": True}
    assert office.desk.snapshot().pinned == {"b"}
    assert office.asked("DELETE", "/models/b/pin").json() == {"model": "b", "pinned": False}
    assert office.desk.snapshot().pinned == set()


def test_logs_are_bounded(office):
    load(office)
    (server,) = office.world.running.values()
    server.log.extend(["server is starting", "server is listening"])
    assert office.asked("GET", "/models/a/logs?lines=1").json() == {
        "model": "a",
        "lines": ["server is listening"],
    }
    assert office.asked("GET", "/models/a/logs?lines=100000").status_code == 422


# --- estimates and suggestions -----------------------------------------------------------------


@pytest.fixture
def telling():
    return Telling()


@pytest.fixture
def knowing(tmp_path, telling):
    with Office(
        tmp_path, models=(spec("a", file="/models/a.gguf"),), predictions=telling
    ) as office:
        yield office


def estimate(office, **body):
    return office.asked("POST", "/models/estimate", json=body)


def test_an_estimate_is_told_in_parts_and_as_it_would_be_reserved(knowing, telling):
    body = {"model": "a", "context_size": "16384", "split_cache": True, "cache_type": "q8_0"}
    answer = estimate(knowing, **body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    parts = ("weights_mib", "context_mib", "compute_mib", "device_mib", "overhead_mib", "host_mib")
    assert [told[each] for each in parts] == [400.0, 100.0, 50.0, 550.0, 600.0, 30.0]
    assert (told["architecture"], told["method"], told["vram_mb"]) == ("llama", "header", 1150)
    serving = telling.appraised[0].serving
    assert (serving.context_size, serving.unified_cache) == (16384, False)
    assert (serving.cache_type_k, serving.cache_type_v) == ("q8_0", "q8_0")


@pytest.mark.parametrize(("said", "layers"), [("all", None), (" ALL ", None), ("7", 7), (0, 0)])
def test_layers_are_a_number_or_all(knowing, telling, said, layers):
    assert estimate(knowing, model="a", gpu_layers=said).status_code == 200
    assert telling.appraised[0].serving.gpu_layers == layers
    load(knowing, gpu_layers=said)
    assert knowing.loaded()["a"].spec.serving.gpu_layers == layers


@pytest.mark.parametrize("said", [-1, "-1", "most", True, 10_001, 1.5])
@pytest.mark.parametrize("path", ["/models/load", "/models/estimate"])
def test_layers_that_are_none_are_named(knowing, path, said):
    answer = knowing.asked("POST", path, json={"model": "a", "gpu_layers": said})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["mistakes"]] == ["gpu_layers"]


def test_an_estimate_may_be_of_several_gpus(knowing, telling):
    assert estimate(knowing, model="a", gpus=2).status_code == 200
    assert telling.appraised[0].span == 2
    assert [estimate(knowing, model="a", gpus=gpus).status_code for gpus in (0, 65)] == [422, 422]


def test_an_estimate_may_be_of_a_file_with_a_projector(knowing, telling):
    body = {"file": "b.gguf", "mmproj": "eyes.gguf", "service": "local"}
    assert estimate(knowing, **body).status_code == 200
    assert telling.appraised[0].files == ("/models/b.gguf", "/models/eyes.gguf")


@pytest.mark.parametrize("body", [{}, {"model": "a", "file": "a.gguf"}, {"model": "a", "slots": 0}])
def test_an_estimate_is_of_one_thing(knowing, body):
    assert estimate(knowing, **body).status_code == 422


def test_a_file_elsewhere_is_not_estimated(knowing):
    answer = estimate(knowing, file="/etc/passwd")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert "/models" in answer.json()["detail"]


@pytest.fixture
def tight(tmp_path):
    """Nothing fits as configured, but with less."""
    with Office(tmp_path, models=(HUGE,), predictions=Telling()) as office:
        yield office


def test_a_refusal_says_what_to_send_instead(tight):
    told = load(tight, 507, model="huge").json()
    assert told["suggestions"] == list(SUGGESTED)
    for each in told["suggestions"]:
        load(tight, model="huge", **each)


def test_a_plan_that_is_a_refusal_says_what_to_send_instead(tight):
    told = tight.asked("POST", "/models/plan", json={"model": "huge"}).json()
    assert told["suggestions"] == told["refusal"]["suggestions"] == list(SUGGESTED)


def test_a_plan_that_fits_suggests_nothing(knowing):
    told = knowing.asked("POST", "/models/plan", json={"model": "a"}).json()
    assert (told["suggestions"], told["vram_provenance"]) == ([], "declared")


def test_what_was_given_up_is_told_with_the_load(tmp_path):
    yielding = replace(HUGE, degrade=(Degrading.CONTEXT_SIZE,))
    with Office(tmp_path, models=(yielding,), predictions=Telling()) as office:
        told = load(office, model="huge").json()
        status = office.asked("GET", "/models/status").json()["loaded_models"]["huge"]
    assert told["given_up"] == status["given_up"] == [GIVEN_UP]


def test_the_log_of_a_model_that_runs_and_left_the_catalogue_is_shown(office):
    load(office)
    instance = office.loaded()["a"].instance
    office.world.running[instance].log.append("still here")
    office.config = replace(
        office.config,
        catalogue={name: each for name, each in office.config.catalogue.items() if name != "a"},
    )
    office.run(office.desk.reload())
    assert office.asked("GET", "/models/a").status_code == 404
    answer = office.asked("GET", "/models/a/logs")
    assert answer.json() == {"model": "a", "lines": ["still here"]}


def test_files_that_could_be_models_are_told(office):
    assert office.asked("GET", "/files").json() == {"files": []}


def test_a_model_says_what_it_would_take_under_each_profile(knowing):
    shown = knowing.asked("GET", "/models/a").json()["profiles"]
    assert list(shown) == ["fast", "balanced", "quality", "memory", "batch"]
    assert [one["context_size"] for one in shown.values()] == [2048, 4096, 8192, 2048, 4096]
    assert all(one["vram_mb"] and one["host_mb"] is not None for one in shown.values())


def test_what_fits_follows_within_a_second(office):
    def told():
        (one,) = (m for m in office.asked("GET", "/models").json()["data"] if m["id"] == "b")
        return one["fits"]

    assert told() == "now"
    office.world.set_foreign(DeviceId("fake-0"), 30000 * MiB)
    office.run(office.conductor.sensors.sample())
    assert told() == "after_evictions"
    assert office.asked("GET", "/models/b").json()["fits"] == "after_evictions"
