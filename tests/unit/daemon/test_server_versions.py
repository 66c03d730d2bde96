"""Which version of its server a service runs."""

import asyncio

from orchestrator.config.loading import load_config
from orchestrator.daemon.server_versions import ServerVersions
from orchestrator.daemon.wiring import Runtimes

FILE = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services:
  rehearsal: {engine: fake}
  boxed: {engine: llama_cpp, runtime: docker, image: "llama-service:cuda", models_dir: /tmp}
models: {}
"""


def test_an_image_is_known_by_its_tag_until_an_engine_has_told_its_id(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    file = tmp_path / "orchestrator.yaml"
    file.write_text(FILE)
    (tmp_path / "state").mkdir()
    config = load_config(file, environ={})

    async def scene():
        runtimes = Runtimes(config)
        versions = ServerVersions(config, runtimes)
        await versions.look()
        assert dict(versions) == {"rehearsal": "", "boxed": "llama-service:cuda"}
        runtimes.docker(config.services["boxed"]).images["llama-service:cuda"] = "sha256:1"
        assert versions["boxed"] == "sha256:1"
        assert len(versions) == 2
        await runtimes.close()

    asyncio.run(scene())
