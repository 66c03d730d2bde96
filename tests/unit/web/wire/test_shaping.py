from dataclasses import replace

from orchestrator.catalogue.sizing import Appraisal
from orchestrator.core.room.planner import Plan
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.leases import Lease, LeaseKind
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import Endpoint, Placement, ResidentState
from orchestrator.core.values.snapshot import RunsAs, Waiting
from orchestrator.core.values.vram import DeviceId, DeviceKind, MiB
from orchestrator.gguf.footprint import Estimate, Method, Share
from orchestrator.orders import Preview
from orchestrator.web.wire import models, shaping
from tests.unit.web.samples import GPU, NOW_S, account, resident, snapshot, spec


def lease_on(held, kind=LeaseKind.REQUEST, **more):
    return Lease(
        id=f"{kind}-1",
        ticket=1,
        instance=held.instance,
        model=held.name,
        kind=kind,
        owner="w",
        priority=5,
        granted_s=NOW_S,
        **{"expires_s": NOW_S + 60, **more},
    )


def shown(held, **more):
    """A resident as the status has it."""
    return shaping.status(snapshot(held, **more))["loaded_models"][held.name]


def test_every_state_of_a_resident_has_a_word():
    assert set(shaping.LOADED_STATUS) == set(ResidentState)


def test_status_holds_the_fields_of_the_contract():
    body = shaping.status(snapshot(resident(spec("a")), accounts=(account(free_mb=26768),)))
    figures = {key: body[key] for key in body if key.endswith(("_mb", "_percent"))}
    assert figures == {
        "total_mb": 32768,
        "used_mb": 6000,
        "free_mb": 26768,
        "available_mb": 26256,
        "foreign_mb": 0,
        "headroom_mb": 512,
        "utilization_percent": 45.2,
        "memory_used_percent": 18.3,
    }
    assert body["now"] == "2026-01-15T10:30:00.000Z"
    loaded = body["loaded_models"]["a"]
    assert {key: loaded[key] for key in ("model", "service", "loaded_at", "status")} == {
        "model": "a",
        "service": "rehearsal",
        "loaded_at": "2026-01-15T10:30:00.000Z",
        "status": "loaded",
    }


def test_share_on_the_host_is_not_vram():
    accounts = (account(), account("host", kind=DeviceKind.HOST))
    placement = Placement(((GPU, 100 * MiB), ("host", 50 * MiB)))
    loaded = shown(resident(spec("a"), placement=placement), accounts=accounts)
    assert loaded["vram_mb"] == 100
    assert loaded["devices"] == [
        {"device": "fake-0", "vram_mb": 100},
        {"device": "host", "vram_mb": 50},
    ]


def test_loading_model_says_when_it_is_expected():
    loading = resident(spec("a", load_s=10.0), ResidentState.LOADING)
    loaded = shown(loading, now_s=NOW_S + 4)
    assert (loaded["status"], loaded["loaded_at"]) == ("loading", None)
    assert loaded["ready_at"] == "2026-01-15T10:30:10.000Z"
    assert loaded["loading_since"] == "2026-01-15T10:30:00.000Z"
    assert shown(resident(spec("a")))["loading_since"] is None


def test_a_load_is_compared_with_what_is_known_and_not_with_a_guess():
    assert shown(resident(spec("a", load_s=10.0)))["usual_seconds"] is None
    known = spec("a", load_s=10.0, load_known=True)
    assert shown(resident(known))["usual_seconds"] == 10.0


def test_the_endpoint_is_the_one_that_clients_are_meant_to_use():
    here = replace(resident(spec("a")), endpoint=Endpoint("http://vram-a:8080"))
    assert shown(here)["endpoint"] == "http://vram-a:8080"
    beyond = replace(here, endpoint=Endpoint("http://vram-a:8080", "http://box.lan:1"))
    assert shown(beyond)["endpoint"] == "http://box.lan:1"


def test_overdue_model_is_expected_now():
    loading = resident(spec("a", load_s=10.0), ResidentState.LOADING)
    loaded = shown(loading, now_s=NOW_S + 40)
    assert loaded["ready_at"] == "2026-01-15T10:30:40.000Z"


def test_expiry_is_of_idle_models_that_are_not_pinned():
    of = spec("a", ttl_s=600.0)

    def expires_at(pinned=(), **more):
        return shown(resident(of, **more), pinned=pinned)["expires_at"]

    assert expires_at() == "2026-01-15T10:40:00.000Z"
    assert expires_at(busy=True) is None
    assert expires_at(lease_count=1) is None
    assert expires_at(ttl_s=None) is None
    assert expires_at(pinned={"a"}) is None


def test_requests_in_flight_and_owners_are_told_apart():
    held = resident(spec("a"))
    loaded = shown(held, leases=[lease_on(held, kind) for kind in LeaseKind])
    assert loaded["in_flight"] == 1
    assert [each["lease_id"] for each in loaded["leases"]] == ["owner-1"]


def test_life_that_comes_hides_the_one_that_leaves():
    coming = replace(resident(spec("a"), ResidentState.LOADING), instance="a-2")
    leaving = resident(spec("a"), ResidentState.RELEASING)
    for order in ((coming, leaving), (leaving, coming)):
        assert shaping.residents_by_name(snapshot(*order))["a"].instance == "a-2"


def test_queue_is_shown():
    waiting = Waiting(
        model="b",
        priority=5,
        callers=3,
        waited_s=1.23456,
        bound_s=187.0,
        waits_for="a drains",
        possible_s=77,
    )
    assert shaping.status(snapshot(queue=(waiting,)))["queue"] == [
        {
            "model": "b",
            "priority": 5,
            "callers": 3,
            "waited_seconds": 1.235,
            "bound_seconds": 187.0,
            "waits_for": "a drains",
            "possible_at": "1970-01-01T00:01:17.000Z",
        }
    ]


def test_plan_names_who_leaves_and_why():
    victim = resident(spec("b", mb=9000))
    plan = Plan(spec("a"), Placement(((GPU, 6000 * MiB),)), (victim,), True, {"b": "idle"})
    preview = Preview(
        spec=spec("a"),
        plan=plan,
        refusal=None,
        available_bytes=MiB,
        eta_s=3.14159,
        already_loaded=False,
    )
    answer = shaping.plan_answer(preview, frozenset())
    assert answer["evict"] == [{"model": "b", "vram_mb": 9000, "reason": "idle"}]
    assert (answer["drains"], answer["eta_seconds"]) == (True, 3.142)


def test_a_plan_that_lacks_host_ram_still_says_what_it_takes_of_the_gpu():
    wanted = replace(spec("a"), given_up=("projector on the host",))
    refused = Refusal(
        code=RefusalCode.DOES_NOT_FIT,
        detail="host RAM",
        needed_bytes=9000 * MiB,
        short_beside=DeviceId("host"),
    )
    preview = Preview(
        spec=wanted,
        plan=None,
        refusal=refused,
        available_bytes=MiB,
        eta_s=None,
        already_loaded=False,
    )
    answer = shaping.plan_answer(preview, frozenset({DeviceId("host")}))
    assert (answer["vram_mb"], answer["refusal"]["needed_mb"]) == (6000, 9000)
    assert answer["given_up"] == ["projector on the host"]


def test_instants_carry_their_zone():
    assert shaping.instant(NOW_S + 0.1234) == "2026-01-15T10:30:00.123Z"


def test_what_several_gpus_hold_together_is_told():
    footprint = Footprint(device_bytes=1000 * MiB, further_device_bytes=600 * MiB)
    parts = Estimate("llama", Method.HEADER, (Share(MiB), Share(MiB)), Share())
    wide = Appraisal(spec("a", file="/a.gguf", span=2), parts, footprint)
    assert shaping.estimate_answer(wide)["vram_mb"] == 1600


def test_settings_that_others_chose_are_not_made_up():
    theirs = replace(spec("a"), settings_ours=False)
    answer = models.model_answer(theirs, snapshot(resident(theirs)))
    assert (answer["serving"], answer["context_size"]) == (None, None)
    assert answer["resident"]["serving"] is None


def test_what_was_estimated_stands_beside_what_was_measured():
    foretold = Footprint(device_bytes=5000 * MiB)
    held = resident(replace(spec("a"), predicted=foretold))
    assert (shown(held)["estimated_mb"], shown(held)["vram_mb"]) == (5000, 6000)
    assert shown(resident(spec("a")))["estimated_mb"] == 6000, "nothing was learned yet"


def test_a_server_is_known_by_its_process_or_its_container():
    held = resident(spec("a"))
    loaded = shown(held, runs_as={held.instance: RunsAs(process_id=4711)})
    assert (loaded["process_id"], loaded["container_id"]) == (4711, None)
    loaded = shown(held, runs_as={held.instance: RunsAs(container_id="c0ffee")})
    assert (loaded["process_id"], loaded["container_id"]) == (None, "c0ffee")
    loaded = shown(held)
    assert (loaded["process_id"], loaded["container_id"]) == (None, None)
