"""What names the concrete drivers, and the identity they know their things by."""

import asyncio

from orchestrator.config.loading import load_config
from orchestrator.config.sections import EngineName, ServiceEntry
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import to_mb
from orchestrator.daemon.wiring import Runtimes, ServerVersions, identity_of, make_predictions
from orchestrator.gguf.footprint import Method
from tests.unit.gguf.gguf_files import unknown_architecture

FILE = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services:
  rehearsal: {engine: fake}
  boxed: {engine: llama_cpp, runtime: docker, image: "llama-service:cuda", models_dir: /tmp}
models: {}
"""


def test_a_state_directory_keeps_its_identity(tmp_path):
    (tmp_path / "other").mkdir()
    assert identity_of(tmp_path) == identity_of(tmp_path)
    assert identity_of(tmp_path) != identity_of(tmp_path / "other")


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


PLAN = """#!/bin/sh
[ "$1" = --version ] && echo version: {mib} && exit
echo "| memory breakdown [MiB]"
case "$*" in *CUDA0*) echo "|  - CUDA0 (card) | 9 = 9 + ({mib} = {mib} + 0 + 0) + 9 |";; esac
echo "|  - Host | 7 = 7 + 0 + 0 |"
echo done
"""


def planning(folder, mib):
    """A server whose plan is always the same."""
    folder.mkdir()
    server = folder / "llama-server"
    server.write_text(PLAN.format(mib=mib))
    server.chmod(0o755)
    return str(server)


def test_the_planner_of_a_service_is_its_own_binary(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    planning(tmp_path / "path", 1000)
    services = {
        "own": ServiceEntry(engine=EngineName.LLAMA_CPP, binary=planning(tmp_path / "own", 2000)),
        "plain": ServiceEntry(engine=EngineName.LLAMA_CPP),
        "gone": ServiceEntry(engine=EngineName.LLAMA_CPP, binary=str(tmp_path / "gone")),
        "wheel": ServiceEntry(engine=EngineName.XLLAMACPP),
    }
    predictions = make_predictions(services)
    file = str(unknown_architecture(tmp_path / "odd.gguf"))

    def planned_mb(service):
        spec = ModelSpec(
            name=ModelName("m"), service=ServiceName(service), footprint=UNKNOWN, file=file
        )
        found = predictions.appraise(spec).estimate
        return to_mb(found.on_devices.weights_bytes) if found.method is Method.DRY_RUN else None

    assert [planned_mb(each) for each in services] == [2001, 1001, None, 1001]
