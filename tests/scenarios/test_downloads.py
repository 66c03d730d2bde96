"""Models that are on a hub when they are first wanted, with the real daemon and a stand-in hub."""

import time
from contextlib import contextmanager

import httpx
import pytest

from tests.contracts import docker_parts as parts
from tests.pace import crowd
from tests.scenarios import containers
from tests.scenarios.daemon import Daemon, config, model
from tests.scenarios.world import SMOLLM, THREADS, smollm_file
from tests.standins.hub import StandInHub, stand_in_hub
from tests.standins.registry import stand_in_registry

REPO = "org/SmolLM2-GGUF"
FAR = f"{REPO}:{SMOLLM}"
WHEEL = {"engine": "xllamacpp", "runtime": "process"}
STAND_IN = {"engine": "fake", "runtime": "process"}


@pytest.fixture
def hub():
    with stand_in_hub(REPO, {SMOLLM: smollm_file().read_bytes()}) as stand_in:
        yield stand_in


@contextmanager
def daemon(directory, hub: StandInHub, models):
    services = {"services": {"wheel": WHEEL, "rehearsal": STAND_IN}}
    started = Daemon(directory, config(models, **services))
    started.environment |= {"HF_HOME": str(directory / "hf"), "HF_ENDPOINT": hub.url}
    try:
        started.start()
        yield started
    finally:
        hub.go_on.set()
        started.clean_up()


def far(**more):
    said = {"service": "wheel", "file": FAR, "auto_download": True, "threads": THREADS}
    return said | {"jinja": False} | more


def waits_for(started: Daemon) -> str:
    queue = started.status()["queue"]
    return queue[0]["waits_for"] if queue else ""


def test_auto_download_on_first_load(tmp_path, hub):
    """Sized from its header, brought, loaded and answering; the second load asks nobody."""
    with daemon(tmp_path, hub, {"far": far()}) as started:
        (entry,) = started.http.get("/models").json()["data"]
        assert (entry["vram_mb"], entry["vram_provenance"]) == (None, "unknown")
        plan = started.post("/models/plan", {"model": "far"}).json()
        assert (plan["fits"], plan["vram_provenance"]) == (True, "estimated")
        assert not list(tmp_path.glob("hf/**/*.gguf"))
        assert started.load("far")["success"]
        assert len(started.decisions("bring", "far")) == 2
        started.unload("far")
        hub.asked.clear()
        assert started.load("far")["success"]
        assert hub.asked == []


def test_impossible_request_downloads_nothing(tmp_path, hub):
    with daemon(tmp_path, hub, {"far": far(context_size=1 << 23)}) as started:
        refused = started.refused("far")
        assert (refused["status"], refused["code"]) == (507, "does_not_fit")
        assert refused["suggestions"]
        assert not list(tmp_path.glob("hf/hub/**/blobs/*"))


def test_nobody_leaves_before_the_download_has_ended(tmp_path, hub):
    hub.behaviour.stall_after = 40 << 20
    models = {"far": far(), "resident": model(32_300)}
    with daemon(tmp_path, hub, models) as started:
        started.load("resident")
        plan = started.post("/models/plan", {"model": "far"}).json()
        assert [each["model"] for each in plan["evict"]] == ["resident"]
        first = started.post("/models/load", {"model": "far", "wait": False})
        assert first.status_code == 202
        assert hub.stalled.wait(20)
        started.until(lambda _: "downloading" in waits_for(started), "it says how far it is")
        assert list(started.status()["loaded_models"]) == ["resident"]
        assert started.refused("far", wait=0.2)["code"] == "load_deadline"
        hub.behaviour.stall_after = None
        hub.go_on.set()
        assert started.load("far")["evicted"] == ["resident"]


def test_a_download_goes_on_after_the_daemon_was_killed(tmp_path, hub):
    hub.behaviour.stall_after = 40 << 20
    with daemon(tmp_path, hub, {"far": far(vram_mb=300)}) as started:
        started.post("/models/load", {"model": "far", "wait": False})
        assert hub.stalled.wait(20)
        (partial,) = tmp_path.glob("hf/hub/**/*.incomplete")
        started.until(lambda _: partial.stat().st_size >= 30 << 20, "much of it has arrived")
        kept = partial.stat().st_size
        started.kill()
        hub.behaviour.stall_after = None
        hub.go_on.set()
        hub.asked.clear()
        started.start()
        assert started.load("far")["success"]
        (body,) = [each for each in hub.bodies() if each.server == "cdn"]
        assert int(body.headers["Range"].removeprefix("bytes=").rstrip("-")) >= kept


def test_an_end_of_the_daemon_does_not_wait_for_a_download(tmp_path, hub):
    hub.behaviour.stall_after = 1 << 20
    with daemon(tmp_path, hub, {"far": far(vram_mb=300)}) as started:
        started.post("/models/load", {"model": "far", "wait": False})
        assert hub.stalled.wait(20)
        began = time.monotonic()
        started.end()
        assert time.monotonic() - began < 2 * crowd()


def test_what_may_not_be_downloaded_says_how_to_get_it(tmp_path, hub):
    with daemon(tmp_path, hub, {"far": far(auto_download=False)}) as started:
        refused = started.refused("far")
        assert (refused["code"], refused["cause"]) == ("load_failed", "model_file")
        assert f"orchestrator pull {FAR}" in refused["remedy"]
        assert hub.asked == []


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_an_image_and_a_model_that_are_not_here_come_on_the_first_load(tmp_path, hub):
    """A container of an image that is pulled serves a file that is downloaded: nothing was here."""
    engine = containers.Engine(parts.need_engine())
    saved = b"".join(engine.client.get_image(containers.llama_image(engine.url)))
    with stand_in_registry(saved) as registry:
        service = {"engine": "llama_cpp", "runtime": "docker", "auto_pull": True}
        services = {"llama": service | {"image": registry.name}}
        settings = config({"far": far(service="llama", context_size=1024)}, services=services)
        started = Daemon(tmp_path, settings)
        started.environment |= {
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": hub.url,
            "DOCKER_HOST": engine.url,
        }
        try:
            started.start()
            assert started.load("far")["success"]
            said = httpx.post(
                started.endpoint("far") + "/v1/chat/completions",
                json={
                    "messages": [{"role": "user", "content": "What is the capital of France?"}],
                    "max_tokens": 16,
                    "temperature": 0,
                },
                timeout=60,
            ).json()
            assert "Paris" in said["choices"][0]["message"]["content"]
            (container,) = engine.containers(started)
            assert container["Config"]["Image"] == registry.name
            (mount,) = container["Mounts"]
            assert (mount["Source"], mount["RW"]) == (str(tmp_path / "hf"), False)
        finally:
            started.clean_up()
            engine.clean_up(started)
            if engine.client.images(name=registry.name):
                engine.client.remove_image(registry.name)
            engine.close()
