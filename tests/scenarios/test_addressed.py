"""Pictures by address, through the relay and through nginx: no server of ours gets to see them."""

import sys

from tests.scenarios.daemon import ROOT, chat
from tests.scenarios.test_gateway import CHAT
from tests.unit.gguf.gguf_files import unknown_architecture

# llama-server's words, which it looks for, and no model.
SERVER = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from orchestrator.stand_in.server import main
if "--port" not in sys.argv:
    flags = ["--model FNAME", "--mmproj FILE", "--host HOST", "--port PORT", "--ctx-size N"]
    print("version: 11434 (370ec32)", file=sys.stderr)
    print(*(f"{{each}}                which is set" for each in flags), sep="\\n")
    sys.exit()
said = dict(zip(sys.argv, sys.argv[1:]))
own = {{name: said[name] for name in ("--host", "--port") if name in said}}
sys.exit(main(["--model", "eyes", *(word for pair in own.items() for word in pair)]))
"""


def picture(url):
    said = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "what?"}]
    return {"model": "eyes", "messages": [{"role": "user", "content": said}], "max_tokens": 1}


def seeing(planes, tmp_path, **more):
    """With a model that sees."""
    binary = tmp_path / "llama-server"
    binary.write_text(SERVER)
    binary.chmod(0o755)
    for name in ("text.gguf", "mmproj.gguf"):
        unknown_architecture(tmp_path / name)
    files = {"file": "text.gguf", "mmproj": "mmproj.gguf"}
    host = {"source": "host", "headroom_mb": 0, "budget_mb": 4000, "fake": []}
    return planes(
        {"eyes": {"service": "local", "vram_mb": 100, **files}},
        services={
            "local": {
                "engine": "llama_cpp",
                "runtime": "process",
                "binary": str(binary),
                "models_dir": str(tmp_path),
            }
        },
        devices=host,
        **more,
    )


def test_no_server_is_made_to_fetch_a_picture(planes, tmp_path):
    daemon = seeing(planes, tmp_path)
    for _ in range(3):
        answer = daemon.post(CHAT, {"model": "eyes", **chat()})
        assert answer.status_code == 200, answer.text
    named, held = picture("http://127.0.0.1:1/x.png"), picture("data:image/png;base64,aGk=")
    for path in (
        CHAT,
        "/v1/messages",
        "/apply-template",
        f"/upstream/eyes{CHAT}",
        "/upstream/eyes/x",
    ):
        answer = daemon.post(path, named)
        assert (answer.status_code, answer.json().get("code")) == (400, "cannot"), (
            path,
            answer.text,
        )
        assert "address" not in daemon.post(path, held).text
    padded = named | {"x": "y" * 200_000}
    assert daemon.post(f"/upstream/eyes{CHAT}", padded).json()["code"] == "cannot"
    daemon.configure(daemon.settings | {"gateway": {"media_by_address": True}})
    assert daemon.http.post("/admin/reload", json={}).status_code == 200
    assert "media_by_address" not in daemon.post(CHAT, named).text


def test_a_look_for_addresses_takes_little_memory_and_gives_it_back(planes, tmp_path):
    limits = {"body_limit_bytes": 2 << 20, "bodies_limit_bytes": 8 << 20}
    daemon = seeing(planes, tmp_path, server=limits)
    asked = picture(f"data:image/png;base64,{'aGkh' * 250_000}")
    asked["messages"][0]["content"][1]["text"] = (
        "is it \N{GRINNING FACE}, as at https://here.test/?"
    )
    for _ in range(3):
        answer = daemon.post(CHAT, asked)
        assert answer.status_code == 200, answer.text
