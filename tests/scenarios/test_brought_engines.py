"""Engines that other packages bring: the example's, installed, and broken ones beside it."""

import shutil
from pathlib import Path

import pytest

from tests.scenarios.brought import engine_packages
from tests.scenarios.daemon import ROOT, Daemon, command, config

BROKEN = {
    "torn": "import nowhere_to_be_found",
    "empty": "def make(premises): return None",
    "unmakeable": "def make(premises): raise RuntimeError('no licence')",
    "raising": """
import file_server_engine
def make(premises):
    made = file_server_engine.make(premises)
    def broken(*words): raise RuntimeError("out of ideas")
    object.__setattr__(made.launcher, "check", broken)
    return made
""",
}
DECLARED = """
from orchestrator.config.engine_kind import EngineKind
KIND = EngineKind(name="{name}", about="", maker="{name}_engine:make", runtimes=("process",))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> Path:
    """A folder with what `pip install` makes of the example, and packages that are broken."""
    site = engine_packages(tmp_path_factory.mktemp("engines"))
    for name, text in BROKEN.items():
        (site / f"{name}_engine.py").write_text(text + DECLARED.format(name=name))
        about = site / f"{name}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        entry = f"{name} = {name}_engine:KIND"
        (about / "entry_points.txt").write_text(f"[vram_orchestrator.engines]\n{entry}\n")
    return site


@pytest.fixture
def daemon(tmp_path, packages):
    names = ("file_server", *BROKEN)
    made = Daemon(
        tmp_path,
        {
            "state_dir": "./state",
            "devices": {"source": "fake", "fake": [{"name": "A", "total_mb": 8192}]},
            "services": {name: {"engine": name} for name in names},
            "models": {f"by-{name}": {"service": name, "vram_mb": 100} for name in names},
        },
    )
    made.executed = True  # in an environment of its own
    made.import_path = (ROOT, packages)
    try:
        made.start()
        yield made
    finally:
        made.clean_up()


def test_an_engine_of_another_package_serves_and_broken_ones_are_told(daemon):
    assert "engine torn of torn 1.0 cannot be used: ModuleNotFoundError" in daemon.log()
    assert "engine unmakeable cannot be made: RuntimeError: no licence" in daemon.log()
    for name in BROKEN:
        refused = daemon.http.post("/models/load", json={"model": f"by-{name}"})
        assert refused.status_code >= 400, refused.text
    assert "engine empty cannot be made: AttributeError" in daemon.log()
    for name, words in (("torn", "nowhere_to_be_found"), ("unmakeable", "no licence")):
        refused = daemon.http.post("/models/load", json={"model": f"by-{name}"})
        assert words in refused.text
    loaded = daemon.http.post("/models/load", json={"model": "by-file_server"})
    assert loaded.status_code == 200, loaded.text
    page = daemon.http.get("/upstream/by-file_server/")
    assert "Directory listing" in page.text
    assert not daemon.http.get("/models/by-file_server").json()["tells_use"]
    assert daemon.http.get("/health").status_code == 200
    assert daemon.end() == 0


def test_what_still_runs_is_kept_and_can_be_unloaded_when_its_engine_breaks(daemon, packages):
    loaded = daemon.http.post("/models/load", json={"model": "by-file_server"}).json()
    daemon.end()
    torn = shutil.copytree(packages, daemon.directory / "torn")
    (torn / "file_server_engine.py").write_text("raise OSError('torn')")
    daemon.import_path = (ROOT, torn)
    daemon.start()
    assert "by-file_server" in daemon.http.get("/models/status").text
    assert daemon.http.get(loaded["endpoint"]).status_code == 200
    gone = daemon.http.post("/models/unload", json={"model": "by-file_server"})
    assert gone.status_code == 200, gone.text
    assert not daemon.servers()
    refused = daemon.http.post("/models/load", json={"model": "by-file_server"})
    assert "OSError: torn" in refused.text


def test_an_engine_that_is_not_installed_keeps_its_own_models_from_loading_alone(tmp_path):
    """At a start. A check and a reload, where somebody looks, are strict."""
    services = {"theirs": {"engine": "file_server"}, "trial": {"engine": "fake"}}
    models = {
        "far": {"service": "theirs", "vram_mb": 100},
        "near": {"service": "trial", "vram_mb": 1},
    }
    made = Daemon(tmp_path, config(models, services=services))
    made.executed = True  # in an environment of its own
    made.import_path = (ROOT,)
    try:
        made.start()
        listed = {each["id"]: each["state"] for each in made.http.get("/models").json()["data"]}
        assert listed == {"far": "failed", "near": "unloaded"}
        assert '"file_server" is no engine here' in made.log()
        refused = made.refused("far")
        assert '"file_server" is no engine here' in refused["detail"]
        assert "Install or mend the package" in refused["remedy"]
        assert made.load("near")["status"] == "loaded"
        reloaded = made.post("/admin/reload")
        assert reloaded.status_code == 422
        assert "services.theirs.engine" in reloaded.text
        assert made.loaded() == {"near": "loaded"}
        code, said = command(tmp_path, "config", "check", str(made.file))
        assert code == 2, said
    finally:
        made.clean_up()
