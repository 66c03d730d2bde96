"""What names the concrete drivers, and the identity they know their things by."""

import asyncio

import yaml

from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.learned import Experience
from orchestrator.config.engines import KINDS
from orchestrator.config.loading import load_config
from orchestrator.config.sections import RuntimeName, ServiceEntry
from orchestrator.config.services import tells_use
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.footprints import UNKNOWN
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import to_mb
from orchestrator.daemon.wiring import Runtimes, identity_of, make_drivers, make_predictions
from orchestrator.engines.http import ServerHttp
from orchestrator.gguf.footprint import Method
from tests.unit.gguf.gguf_files import unknown_architecture


def test_a_state_directory_keeps_its_identity(tmp_path):
    (tmp_path / "other").mkdir()
    assert identity_of(tmp_path) == identity_of(tmp_path)
    assert identity_of(tmp_path) != identity_of(tmp_path / "other")


def least(kind, runtime):
    """What has to be written of a service of the engine."""
    keys = {"engine": kind.name, "runtime": str(runtime)}
    if runtime is RuntimeName.EXTERNAL:
        keys["url"] = "http://there:1"
    elif "container" in kind.needs:
        keys["container"] = "c"
    elif runtime is RuntimeName.DOCKER:
        keys["image"] = "i"
    if "command" in kind.needs:
        keys["command"] = "run ${PORT}"
    return keys


def test_every_engine_is_made_for_every_runtime_it_goes_with(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    services = {
        f"{kind.name}-{runtime}": least(kind, runtime)
        for kind in KINDS.values()
        for runtime in kind.runtimes
    }
    file = tmp_path / "orchestrator.yaml"
    file.write_text(yaml.safe_dump({"services": services}))
    (tmp_path / "state").mkdir()
    config = load_config(file, environ={})

    async def scene():
        http, runtimes = ServerHttp(), Runtimes(config)
        catalogue = Catalogue(
            config=config,
            load=lambda: config,
            experience=Experience(),
            predictions=make_predictions({}),
            cached=lambda _: None,
        )
        drivers = make_drivers(config, http, runtimes, catalogue, Ledger())
        told = {name: made.engine.tells_use for name, made in drivers.items()}
        assert told == {name: tells_use(entry) for name, entry in config.services.items()}
        await runtimes.close()
        await http.close()

    asyncio.run(scene())


def test_the_key_of_a_server_that_others_defined_is_read(tmp_path, caplog):
    (tmp_path / "key").write_text("theirs\n")
    services = {
        "there": {"engine": "llama_cpp", "runtime": "external", "url": "http://gpu-box:8000"},
        "lost": {"engine": "llama_cpp", "runtime": "external", "url": "http://gpu-box:8001"},
    }
    services["there"]["key_file"] = str(tmp_path / "key")
    services["lost"]["key_file"] = str(tmp_path / "gone")
    file = tmp_path / "orchestrator.yaml"
    file.write_text(yaml.safe_dump({"services": services}))
    keys = Runtimes(load_config(file, environ={})).keys
    assert keys.bearer("http://gpu-box:8000/health") == "Bearer theirs"
    assert keys.bearer("http://gpu-box:8001/health") is None
    assert "services.lost.key_file" in caplog.text
    assert "theirs" not in caplog.text


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
        "own": ServiceEntry(engine="llama_cpp", binary=planning(tmp_path / "own", 2000)),
        "plain": ServiceEntry(engine="llama_cpp"),
        "gone": ServiceEntry(engine="llama_cpp", binary=str(tmp_path / "gone")),
        "wheel": ServiceEntry(engine="xllamacpp"),
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
