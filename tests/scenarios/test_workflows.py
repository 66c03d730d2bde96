"""Workflows: every file of `workflows/`, executed by a real n8n against the real daemon."""

import json
import re

import pytest
import yaml

from tests.pace import crowd
from tests.scenarios.daemon import ROOT
from tests.scenarios.n8n import QUICK, SERVICES, WORKFLOWS, catalogue, chat_model, comfyui
from tests.scenarios.tool_model import write_tool_model
from tests.scenarios.world import THREADS

pytestmark = pytest.mark.n8n


EVERY = sorted(file.stem for file in WORKFLOWS.glob("*.json"))
CHATS = {"vram-seed": "qwen3-vl-30b", "vram-chat": "default"}  # as each calls its model


def test_seed_workflow_runs_in_n8n(scenes):
    """The card is full of the video model: it leaves, the chat model answers and leaves too."""
    here = scenes()
    here.daemon.load("wan2.1-14b")
    run = here.execute("vram-seed")
    assert run.succeeded, run.text
    assert run.nodes == [
        "Start",
        "Status",
        "VRAM short?",
        "Unload wan2.1-14b",
        "Load qwen3-vl-30b",
        "Chat",
        "Process",
        "Unload qwen3-vl-30b",
    ]
    assert run.output("Status")["free_mb"] == 4096
    assert run.output("Unload wan2.1-14b")["status"] == "unloaded"
    assert run.output("Process")["answer"].startswith("This is qwen3-vl-30b")
    assert run.output("Unload qwen3-vl-30b")["freed_mb"] == 17408
    assert here.daemon.loaded() == {}


def test_chat_example_does_the_same_by_its_settings(scenes):
    here = scenes()
    here.daemon.load("wan2.1-14b")
    run = here.execute("vram-chat")
    assert run.succeeded, run.text
    assert run.nodes == [
        "Start",
        "In the stack?",
        "Settings",
        "Status",
        "VRAM short?",
        "Unload wan2.1-14b",
        "Load",
        "Chat",
        "Process",
        "Unload",
    ]
    assert run.output("Settings")["orchestrator"] == "http://model-orchestrator:8000"
    assert run.output("Process")["answer"].startswith("This is qwen3-vl-30b")
    assert run.output("Process")["model"] == "qwen3-vl-30b", "as the load had named it"
    assert run.output("Unload")["freed_mb"] == 17408
    assert here.daemon.loaded() == {}


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_chat_example_asks_the_endpoint_of_servers_with_and_without_keys(scenes, closed):
    """The operator decides by one word; the workflow is the same."""
    services = {name: entry | {"closed": closed} for name, entry in SERVICES.items()}
    here = scenes(services=services)
    run = here.execute("vram-chat")
    assert run.succeeded, run.text
    assert ("/upstream/" in run.output("Load")["endpoint"]) is closed
    assert run.output("Process")["answer"].startswith("This is qwen3-vl-30b")


def test_chat_example_goes_on_where_there_is_no_video_model(scenes):
    here = scenes(
        {"any": chat_model(1000)}, devices={"fake": [{"name": "Small", "total_mb": 8192}]}
    )
    run = here.execute("vram-chat")
    assert run.succeeded, run.text
    assert "Unload wan2.1-14b" in run.nodes
    assert run.output("Process")["answer"].startswith("This is any")


@pytest.mark.parametrize("name", [each for each in EVERY if not each.startswith("gateway-")])
def test_every_workflow_finds_the_orchestrator_of_this_machine(scenes, name):
    """Without a stack, as beside `make run`: the same file, and nothing typed."""
    here = scenes()
    here.n8n.hosts.clear()
    here.n8n.hosts["localhost"] = here.daemon.address
    workflow_id = json.loads((WORKFLOWS / f"{name}.json").read_text())["id"]
    with comfyui(looks=1, address=here.daemon.address):
        run = here.execute(workflow_id)
    assert run.succeeded, run.text
    assert run.output("Settings")["orchestrator"] == "http://localhost:8000"
    assert here.daemon.status()["leases"] == []
    assert here.daemon.http.get("/leases").json()["leases"] == []


def test_seed_workflow_leaves_the_video_model_where_there_is_room(scenes):
    here = scenes(devices={"fake": [{"name": "Fake 64 GB", "total_mb": 65536}]})
    here.daemon.load("wan2.1-14b")
    run = here.execute("vram-seed")
    assert run.succeeded, run.text
    assert "Unload wan2.1-14b" not in run.nodes
    assert here.daemon.loaded() == {"wan2.1-14b": "loaded"}


@pytest.mark.parametrize("workflow", CHATS)
@pytest.mark.parametrize("name", ["config-gpu", "config-cpu"])
def test_seed_workflow_runs_with_the_configurations_of_the_stack(scenes, name, workflow):
    """Every name that it calls is there; only what runs the models is a stand-in."""
    said = yaml.safe_load((ROOT / "deploy" / name / "orchestrator.yaml").read_text())
    models = {called: each | {"fake": QUICK} for called, each in said["models"].items()}
    services = {each: {"engine": "fake", "runtime": "process"} for each in said["services"]}
    short = {"fake": [{"name": "Fake 17 GB", "total_mb": 17990}]}
    here = scenes(models, services=services, devices=short)
    run = here.execute(workflow)
    assert run.succeeded, run.text
    assert run.output("Unload wan2.1-14b")["status"] == "not_loaded"
    assert run.output("Process")["answer"]
    assert run.output(run.nodes[-1])["status"] == "unloaded"
    assert here.daemon.loaded() == {}


def test_n8n_error_branch(scenes):
    """Too large for the machine: no second try, and the reason as the orchestrator gave it."""
    here = scenes({"huge": chat_model(90000)})
    run = here.execute("vram-error-branch")
    assert run.succeeded, run.text
    assert run.nodes[3:] == ["Load", "Read the refusal", "Worth another try?", "Explain"]
    told = run.output("Explain")
    assert (told["ok"], told["code"], told["status"]) == (False, "does_not_fit", 507)
    assert (told["needed_mb"], told["available_mb"]) == (90000, 32768)
    assert "Retrying will not help" in told["remedy"]


def test_n8n_error_branch_comes_back_when_it_was_told_to(scenes):
    """The load takes longer than the caller waits: 503, a pause as long as told, and it is there."""
    here = scenes({"slow": chat_model(load_s=13)})
    run = here.execute("vram-error-branch")
    assert run.succeeded, run.text
    refusal = run.output("Read the refusal")
    assert (refusal["status"], refusal["code"]) == (503, "load_deadline")
    assert 1 <= refusal["retry_after_seconds"] <= 4, "what is left of the load"
    assert (run.times("Load"), run.times("Wait as told")) == (2, 1)
    assert run.output("Success")["endpoint"] == here.daemon.endpoint("slow")
    assert len(here.daemon.decisions("load")) == 1, "the second call joined the first one's load"


def test_n8n_error_branch_says_when_nobody_answers(scenes):
    here = scenes()
    here.daemon.kill()
    run = here.execute("vram-error-branch")
    assert run.succeeded, run.text
    assert run.output("Explain")["code"] == "no_answer"
    assert "ECONNREFUSED" in run.output("Explain")["why"]


def test_n8n_async_load(scenes):
    here = scenes(catalogue(**{"qwen3-vl-30b": chat_model(load_s=5 * crowd())}))
    run = here.execute("vram-async-load")
    assert run.succeeded, run.text
    assert run.output("Begin load")["status"] in ("queued", "loading")
    assert run.times("Ask") >= 2, "it was asked for until it was there"
    assert "error" not in run.output("Process"), run.text
    assert run.output("Process")["answer"].startswith("This is qwen3-vl-30b")
    assert run.output("Release")["status"] == "unloaded"


def test_n8n_async_load_tells_why_it_failed(scenes):
    here = scenes(catalogue(**{"qwen3-vl-30b": chat_model(load_s=1, fail="exits")}))
    run = here.execute("vram-async-load")
    assert not run.succeeded
    assert run.nodes[-1] == "Failed", run.text
    assert "qwen3-vl-30b" in run.error["message"]


# Of somebody else's server, that does what a test wants.
SERVED = {"qwen3-vl-30b": {"service": "llama-cpp", "vram_mb": 17408, "aliases": ["default"]}}


@pytest.mark.parametrize("workflow", ["vram-async-load", "vram-vision", "vram-tools"])
def test_n8n_gives_the_model_back_when_its_server_fails(scenes, there, workflow):
    """At once, and not when the lease runs out: others may want the room."""
    here = scenes(SERVED, services={"llama-cpp": there.service()})
    there.deadly = "/v1/"
    run = here.execute(workflow)
    assert not run.succeeded
    ends = ["Read the failure", "Release after the failure", "Failed"]
    assert run.nodes[-3:] == ends, run.text
    assert run.output("Release after the failure")["status"] == "unloaded"
    assert len(run.output("Read the failure")["why"]) > 10, "in words"
    # n8n puts words of its own in the place of some of the network's.
    assert re.search("has been released|connection to the server was closed", run.error["message"])
    assert here.daemon.http.get("/leases").json()["leases"] == []
    assert here.daemon.loaded() == {}


def test_n8n_asks_about_a_picture(scenes, there):
    here = scenes(SERVED, services={"llama-cpp": there.service()})
    there.answers = [b'{"model": "qwen3-vl-30b", "choices": [{"message": {"content": "A disc."}}]}']
    run = here.execute("vram-vision")
    assert run.succeeded, run.text
    assert run.output("Process") == {"answer": "A disc.", "model": "qwen3-vl-30b"}
    (asked,) = (body for _, path, _, body in there.heard if path.startswith("/v1/"))
    assert b'"url":"data:image/png;base64,iVBORw0KGgo' in asked
    assert run.output("Release")["status"] == "unloaded"


def test_n8n_lets_a_real_model_call_a_tool(scenes, tmp_path):
    """With the real engine: a model that is made to call a tool calls it, and gets its result."""
    write_tool_model(tmp_path / "tools.gguf")
    file = {"service": "llama-cpp", "file": "tools.gguf", "context_size": 2048, "vram_mb": 300}
    file |= {"threads": THREADS, "aliases": ["default"]}
    here = scenes(
        {"qwen3-vl-30b": file},
        services={
            "llama-cpp": {"engine": "xllamacpp", "runtime": "process", "models_dir": str(tmp_path)}
        },
        devices={"source": "host", "fake": []},
    )
    run = here.execute("vram-tools")
    assert run.succeeded, run.text
    call = run.output("Ask")["choices"][0]["message"]["tool_calls"][0]
    assert call["function"]["name"] == "vram_status"
    handed_over = run.output("Hand over the result")["messages"][-1]
    assert handed_over["tool_call_id"] == call["id"]
    assert json.loads(handed_over["content"])["total_mb"] == here.daemon.status()["total_mb"]
    assert run.output("Process")["answer"]


def test_n8n_makes_room_for_comfyui_and_hands_it_back(scenes):
    here = scenes()
    here.daemon.load("ovi")
    with comfyui(looks=3) as comfy:
        here.n8n.hosts["comfyui"] = comfy.address
        run = here.execute("vram-comfyui-room")
    assert run.succeeded, run.text
    assert run.output("Lease VRAM")["evicted"] == ["ovi"]
    assert run.times("Renew the lease") >= 2
    assert run.output("Images")["outputs"]["2"]["images"]
    assert comfy.freed
    assert here.daemon.status()["leases"] == []


def test_n8n_hands_the_room_back_when_comfyui_is_not_there(scenes):
    here = scenes()
    here.n8n.hosts["comfyui"] = "127.0.0.1"  # where nobody listens at its port
    run = here.execute("vram-comfyui-room")
    assert not run.succeeded
    assert "handed back" in run.error["message"]
    assert here.daemon.status()["leases"] == []
