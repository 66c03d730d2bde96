import asyncio
from dataclasses import replace

import pytest

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.specs import Profile
from orchestrator.core.values.vram import MiB
from tests.unit.web.desk import FakeDesk, asked, leave_after_asking, resident, spec


@pytest.fixture
def desk():
    return FakeDesk()


def order_of(desk):
    (_, order), *_ = desk.operations.values()
    return order


def test_load_answers_when_the_model_is_ready(desk):
    answer = asked(desk, "POST", "/models/load", json={"model": "a"})
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "model": "a",
        "service": "rehearsal",
        "status": "loaded",
        "loaded_at": "2026-01-15T10:30:00.000Z",
        "endpoint": "http://127.0.0.1:4000",
        "vram_mb": 6000,
        "devices": [{"device": "fake-0", "vram_mb": 6000}],
        "evicted": [],
        "already_loaded": False,
        "waited_seconds": 0.01,
    }


def test_load_takes_every_field_also_as_strings(desk):
    body = {
        "model": "bee",
        "service": "rehearsal",
        "priority": "7",
        "wait": "30",
        "ttl_seconds": "600",
        "owner": "workflow-3",
        "lease_seconds": 60,
        "profile": "fast",
        "context_size": 2048.0,
        "pin": "true",
    }
    answer = asked(desk, "POST", "/models/load", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["lease_id"].startswith("lease-")
    order = order_of(desk)
    assert (order.model, order.priority, order.ttl_s, order.pin) == ("bee", 7, 600.0, True)
    assert (order.owner, order.lease_s) == ("workflow-3", 60.0)
    assert (order.profile, order.context_size) == (Profile.FAST, 2048)


@pytest.mark.parametrize(
    "more",
    [
        {"json": {"model": "a", "wait": False}},
        {"json": {"model": "a", "wait": "false"}},
        {"json": {"model": "a"}, "headers": {"Prefer": "respond-async, wait=5"}},
    ],
)
def test_load_is_accepted_only_when_asked(desk, more):
    answer = asked(desk, "POST", "/models/load", **more)
    assert answer.status_code == 202
    assert answer.json() == {
        "success": True,
        "model": "a",
        "status": "loading",
        "operation_id": "op-1",
        "status_url": "/operations/op-1",
        "eta_seconds": 2.5,
    }


def test_asynchronous_load_of_what_is_loaded_says_so(desk):
    desk.residents["a"] = resident(spec("a"))
    answer = asked(desk, "POST", "/models/load", json={"model": "a", "wait": False})
    assert (answer.status_code, answer.json()["already_loaded"]) == (200, True)


def test_load_deadline_names_the_operation_and_the_load_goes_on(desk):
    desk.slow = asyncio.Event()
    answer = asked(desk, "POST", "/models/load", json={"model": "a", "wait": 0.01})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "3"
    body = answer.json()
    assert (body["code"], body["operation_id"]) == ("load_deadline", "op-1")
    assert body["error"]["message"].startswith("a is not ready after 0.01 s; the load goes on.")


def test_failed_load_carries_its_cause_and_its_log(desk):
    failure = Failure(
        reason=FailureReason.MODEL_FILE,
        detail="truncated",
        log_tail=("bad magic",),
        remedy="Download it again.",
    )
    desk.refusal = Refusal(code=RefusalCode.LOAD_FAILED, detail="a failed.", failure=failure)
    answer = asked(desk, "POST", "/models/load", json={"model": "a"})
    body = answer.json()
    assert answer.status_code == 502
    assert (body["cause"], body["log_tail"]) == ("model_file", ["bad magic"])
    assert (body["remedy"], body["operation_id"]) == ("Download it again.", "op-1")


def test_caller_that_disconnects_is_not_waited_for(desk):
    """What becomes of the load is the desk's business: it is told by the cancellation."""
    desk.slow = asyncio.Event()
    asyncio.run(leave_after_asking(desk, "/models/load", b'{"model": "a"}'))
    assert desk.left == ["op-1"]


def test_unload_tells_what_was_freed(desk):
    desk.residents["a"] = resident(spec("a"))
    answer = asked(desk, "POST", "/models/unload", json={"model": "a", "force": "true"})
    assert answer.json() == {
        "success": True,
        "status": "unloaded",
        "model": "a",
        "service": "rehearsal",
        "freed_mb": 6000,
        "verified": True,
        "remaining_leases": 0,
    }


def test_unload_takes_one_holder_only(desk):
    body = {"model": "a", "owner": "x", "lease_id": "y"}
    answer = asked(desk, "POST", "/models/unload", json=body)
    assert answer.status_code == 422
    assert "not both" in answer.json()["detail"]


def test_unload_in_use_is_a_conflict(desk):
    desk.unload_refusal = Refusal(code=RefusalCode.IN_USE, detail="a is in use.")
    answer = asked(desk, "POST", "/models/unload", json={"model": "a"})
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")


def test_plan_says_what_would_happen_without_doing_it(desk):
    before = desk.state()
    answer = asked(desk, "POST", "/models/plan", json={"model": "a"})
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
    }
    assert desk.state() == before


def test_plan_that_is_a_refusal_is_still_an_answer(desk):
    desk.refusal = Refusal(code=RefusalCode.DOES_NOT_FIT, detail="Too big.", needed_bytes=99 * MiB)
    answer = asked(desk, "POST", "/models/plan", json={"model": "a"})
    body = answer.json()
    assert (answer.status_code, body["fits"]) == (200, False)
    assert body["refusal"] == {
        "code": "does_not_fit",
        "detail": "Too big.",
        "remedy": "",
        "needed_mb": 99,
    }


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
def test_catalogue_has_the_shape_of_the_router(desk, path):
    desk.residents["a"] = resident(spec("a"))
    body = asked(desk, "GET", path).json()
    assert body["object"] == "list"
    assert {each["id"]: each["status"]["value"] for each in body["data"]} == {
        "a": "loaded",
        "b": "unloaded",
    }


def test_one_model_is_found_by_alias(desk):
    body = asked(desk, "GET", "/models/bee").json()
    assert (body["id"], body["resident"], body["serving"]["context_size"]) == ("b", None, 4096)


def test_model_is_put_and_deleted(desk):
    answer = asked(desk, "PUT", "/models/c", json={"service": "rehearsal"})
    assert (answer.status_code, answer.json()["id"]) == (200, "c")
    assert asked(desk, "DELETE", "/models/c").status_code == 204
    assert "c" not in desk.catalogue


def test_model_with_mistakes_is_refused_with_all_of_them(desk):
    answer = asked(desk, "PUT", "/models/c", json={"vram_mb": 1})
    assert answer.status_code == 422
    assert answer.json()["mistakes"] == [{"field": "", "message": "models.c.service is required"}]


def test_pin_and_unpin(desk):
    assert asked(desk, "PUT", "/models/bee/pin").json() == {"model": "b", "pinned": True}
    assert desk.pinned == {"b"}
    assert asked(desk, "DELETE", "/models/b/pin").json() == {"model": "b", "pinned": False}
    assert desk.pinned == set()


def test_logs_are_bounded(desk):
    assert asked(desk, "GET", "/models/a/logs?lines=5").json() == {
        "model": "a",
        "lines": ["server is listening"],
    }
    assert asked(desk, "GET", "/models/a/logs?lines=100000").status_code == 422


# --- estimates and suggestions -----------------------------------------------------------------


def test_an_estimate_is_told_in_parts_and_as_it_would_be_reserved(desk):
    body = {"model": "a", "context_size": "16384", "split_cache": True, "cache_type": "q8_0"}
    answer = asked(desk, "POST", "/models/estimate", json=body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    parts = ("weights_mib", "context_mib", "compute_mib", "device_mib", "overhead_mib", "host_mib")
    assert [told[each] for each in parts] == [400.0, 100.0, 50.0, 550.0, 600.0, 30.0]
    assert (told["architecture"], told["method"], told["vram_mb"]) == ("llama", "header", 1150)
    order = desk.estimated
    assert (order.context_size, order.unified_cache, order.cache_type) == (16384, False, "q8_0")


@pytest.mark.parametrize(("said", "layers"), [("all", "all"), (" ALL ", "all"), ("7", 7), (0, 0)])
def test_layers_are_a_number_or_all(desk, said, layers):
    body = {"model": "a", "gpu_layers": said}
    assert asked(desk, "POST", "/models/estimate", json=body).status_code == 200
    assert desk.estimated.gpu_layers == layers
    assert asked(desk, "POST", "/models/load", json=body).status_code == 200
    [(_, order)] = desk.operations.values()
    assert order.gpu_layers == layers


@pytest.mark.parametrize("said", [-1, "-1", "most", True, 10_001, 1.5])
@pytest.mark.parametrize("path", ["/models/load", "/models/estimate"])
def test_layers_that_are_none_are_named(desk, path, said):
    answer = asked(desk, "POST", path, json={"model": "a", "gpu_layers": said})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["mistakes"]] == ["gpu_layers"]


def test_an_estimate_may_be_of_several_gpus_and_a_projector(desk):
    body = {"model": "a", "mmproj": "eyes.gguf", "gpus": 2}
    assert asked(desk, "POST", "/models/estimate", json=body).status_code == 200
    assert (desk.estimated.mmproj, desk.estimated.gpus) == ("eyes.gguf", 2)
    for gpus in (0, 65):
        wrong = asked(desk, "POST", "/models/estimate", json={"model": "a", "gpus": gpus})
        assert wrong.status_code == 422


@pytest.mark.parametrize("body", [{}, {"model": "a", "file": "a.gguf"}, {"model": "a", "slots": 0}])
def test_an_estimate_is_of_one_thing(desk, body):
    assert asked(desk, "POST", "/models/estimate", json=body).status_code == 422


def test_a_file_elsewhere_is_not_estimated(desk):
    answer = asked(desk, "POST", "/models/estimate", json={"file": "/etc/passwd"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


@pytest.mark.parametrize("path", ["/models/load", "/models/plan"])
def test_a_refusal_says_what_to_send_instead(desk, path):
    desk.refusal = Refusal(
        code=RefusalCode.NO_ROOM,
        detail="No room.",
        suggestions=({"context_size": 4096}, {"cache_type": "q8_0"}),
    )
    answer = asked(desk, "POST", path, json={"model": "a"}).json()
    assert answer["suggestions"] == [{"context_size": 4096}, {"cache_type": "q8_0"}]
    for each in answer["suggestions"]:
        desk.refusal = None
        assert asked(desk, "POST", "/models/load", json={"model": "a", **each}).status_code == 200


def test_a_plan_that_fits_suggests_nothing(desk):
    told = asked(desk, "POST", "/models/plan", json={"model": "a"}).json()
    assert (told["suggestions"], told["vram_provenance"]) == ([], "declared")


def test_what_was_given_up_is_told_with_the_load(desk):
    less = replace(spec("a"), given_up=("ubatch 128 instead of 512",))
    desk.residents["a"] = resident(less)
    told = asked(desk, "POST", "/models/load", json={"model": "a"}).json()
    status = asked(desk, "GET", "/models/status").json()["loaded_models"]["a"]
    assert told["given_up"] == status["given_up"] == ["ubatch 128 instead of 512"]
