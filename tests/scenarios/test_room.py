"""Room: who fits, who leaves, and that nothing ever runs out of memory."""

import time

from tests.pace import crowd
from tests.scenarios.daemon import model

SWAPS = 25  # with real processes; the simulation makes thousands
TWO_CARDS = {
    "fake": [
        {"name": "large", "total_mb": 32768, "release_lag_s": 0.2},
        {"name": "small", "total_mb": 16384, "release_lag_s": 0.2},
    ]
}


def test_impossible_request_evicts_nothing(daemons):
    daemon = daemons({"a": model(10000), "b": model(10000), "huge": model(999_000)})
    daemon.load("a")
    daemon.load("b")
    began = time.monotonic()
    body = daemon.refused("huge")
    took_s = time.monotonic() - began
    assert (body["status"], body["code"]) == (507, "does_not_fit")
    assert daemon.loaded() == {"a": "loaded", "b": "loaded"}
    assert took_s < 0.5 * crowd(), "refused without waiting for anything"
    assert not daemon.decisions("evict")


def test_lagging_vram_single_victim(daemons):
    card = {"fake": [{"name": "slow", "total_mb": 32768, "release_lag_s": 1.5}]}
    daemon = daemons({name: model(14000) for name in "abc"}, devices=card)
    daemon.load("a")
    daemon.load("b")
    answer = daemon.load("c")
    assert len(answer["evicted"]) == 1
    assert answer["waited_seconds"] >= 1.5, "the next start waited for the driver"
    assert len(daemon.decisions("evict")) == 1
    assert len(daemon.loaded()) == 2


def test_never_out_of_memory(daemons):
    daemon = daemons({name: model(30000, fake={"load_s": 0.01}) for name in "ab"})
    for swap in range(SWAPS):
        daemon.load("ab"[swap % 2])
    assert not daemon.decisions("fail"), "the fake card refuses an allocation as a real one does"
    assert len(daemon.decisions("loaded")) == SWAPS


def test_foreign_process_takes_the_room(daemons):
    daemon = daemons(
        {"a": model(20000), "b": model(20000)}, scheduling={"patience_s": 2, "drain_timeout_s": 1}
    )
    daemon.load("a")
    daemon.unload("a")
    daemon.device(foreign_mb=4096)
    daemon.load("a")
    assert daemon.status()["foreign_mb"] == 4096
    daemon.device(foreign_mb=12768)
    answer = daemon.post("/models/load", {"model": "b"})
    assert answer.status_code == 200, "a makes room: 12 GB of others and 20 of b fit"
    daemon.device(foreign_mb=0)
    daemon.unload("b")
    daemon.device(foreign_mb=16384)
    refused = daemon.post("/models/load", {"model": "a", "wait": 0.5})
    assert refused.status_code == 503
    assert not daemon.decisions("fail"), "nobody ran out of memory"


def test_victim_on_the_right_device(daemons):
    daemon = daemons(
        {
            "wide": model(30000),
            "low": model(15000, devices=["fake-1"]),
            "new": model(14000, devices=["fake-1"]),
        },
        devices=TWO_CARDS,
    )
    daemon.load("wide")
    daemon.load("low")
    assert daemon.load("new")["evicted"] == ["low"]
    assert daemon.loaded() == {"wide": "loaded", "new": "loaded"}


def test_no_needless_victim(daemons):
    smalls = {f"small-{index}": model(2000) for index in range(5)}
    daemon = daemons({"large": model(20000), "new": model(20000)} | smalls)
    for name in [*smalls, "large"]:
        daemon.load(name)
    assert daemon.load("new")["evicted"] == ["large"]
    assert daemon.loaded() == dict.fromkeys([*smalls, "new"], "loaded")


def test_seed_budget_table(daemons):
    """What people with one card of 32 GB know by heart; here as the daemon answers it."""
    gib = 1024
    daemon = daemons(
        {
            "qwen3-vl-30b": model(17 * gib),
            "whisperx": model(6 * gib),
            "ovi": model(22 * gib),
            "wan2.1-14b": model(28 * gib),
        }
    )
    daemon.load("qwen3-vl-30b")
    assert daemon.status()["available_mb"] == 15 * gib
    daemon.load("whisperx")
    assert daemon.status()["available_mb"] == 9 * gib
    plan = daemon.post("/models/plan", {"model": "ovi"}).json()
    assert plan["fits"]
    assert [each["model"] for each in plan["evict"]] == ["qwen3-vl-30b"]
    assert daemon.loaded() == {"qwen3-vl-30b": "loaded", "whisperx": "loaded"}, "a plan is no act"
    daemon.unload("qwen3-vl-30b")
    daemon.unload("whisperx")
    daemon.load("wan2.1-14b")
    assert daemon.status()["available_mb"] == 4 * gib


def test_a_model_spans_devices_only_when_it_says_so(daemons):
    daemon = daemons(
        {"narrow": model(40000), "wide": model(30000, span=2)},
        devices={"fake": [{"name": n, "total_mb": 20000, "release_lag_s": 0.1} for n in "xy"]},
    )
    assert daemon.refused("narrow")["code"] == "does_not_fit"
    devices = daemon.load("wide")["devices"]
    assert [each["vram_mb"] for each in devices] == [15000, 15000]


def test_vram_lease_makes_room_and_gives_it_back(daemons):
    daemon = daemons({"a": model(20000)})
    daemon.load("a")
    lease = daemon.post("/vram/leases", {"vram_mb": 16000, "owner": "comfyui", "ttl_seconds": 60})
    assert lease.status_code == 201, lease.text
    assert lease.json()["evicted"] == ["a"]
    assert daemon.post("/models/load", {"model": "a", "wait": 0.3}).status_code == 503
    for _ in range(2):
        deleted = daemon.http.delete(f"/vram/leases/{lease.json()['lease_id']}")
        assert deleted.status_code == 204, "also twice"
    daemon.until_loaded(a="loaded")
