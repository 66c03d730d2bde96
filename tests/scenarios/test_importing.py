"""What `init` and `import` write is served by the real daemon, as a new user would have it."""

import shutil
import sys

import yaml

from orchestrator.cli.main import main
from tests import walks
from tests.scenarios.daemon import ROOT, Daemon, config
from tests.scenarios.world import THREADS, smollm_file

# In the shape of llama-swap's own example: a macro, a port that is written out, a group, aliases.
SWAP = f"""
macros:
  server: >
    {sys.executable} -P -m orchestrator.stand_in.server --host 127.0.0.1 --load-s 0.2
models:
  "org/first 7B":
    cmd: ${{server}} --port ${{PORT}} --model first
    env: ["PYTHONPATH={ROOT}"]
    aliases: [chat]
  second:
    cmd: |
      # on a port of its own
      ${{server}} --port 8999 --model second
    proxy: http://127.0.0.1:8999
    env: ["PYTHONPATH={ROOT}"]
groups: {{one: {{swap: true, members: [second]}}}}
"""


def asked(daemon, name):
    order = {"model": name, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    answer = daemon.http.post("/v1/chat/completions", json=order)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_llama_swaps_configuration_is_imported_and_served(tmp_path, capsys, record_property):
    walk = walks.Walk("from llama-swap", record_property)
    file = tmp_path / "config.yaml"
    file.write_text(SWAP)
    walk.types("orchestrator import llama-swap config.yaml > ours.yaml")
    assert main(["import", "llama-swap", str(file)]) == 0
    imported = yaml.safe_load(capsys.readouterr().out)
    for entry in imported["models"].values():
        entry["vram_mb"] = 20_000  # as its user would correct the guess: only one fits
    daemon = Daemon(tmp_path, config(imported["models"], services=imported["services"]))
    try:
        walk.types("orchestrator serve --config ours.yaml")
        daemon.start()
        walk.types("a chat")
        assert "hello" in asked(daemon, "chat")["choices"][0]["message"]["content"]
        walk.ends()
        assert asked(daemon, "second")["model"] == "second"
        assert set(daemon.http.get("/models/status").json()["loaded_models"]) == {"second"}
        assert "Traceback" not in daemon.log()
    finally:
        daemon.clean_up()


def test_what_init_writes_is_served(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    shutil.copy(smollm_file(), tmp_path / "models" / "smol.gguf")
    assert main(["init"]) == 0
    assert "Model smol: " in capsys.readouterr().out
    settings = yaml.safe_load((tmp_path / "orchestrator.yaml").read_text())
    settings["models"]["smol"]["threads"] = THREADS
    daemon = Daemon(tmp_path, settings)
    try:
        daemon.start()
        assert asked(daemon, "smol")["choices"][0]["message"]["content"]
        assert "Traceback" not in daemon.log()
    finally:
        daemon.clean_up()
