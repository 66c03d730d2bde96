"""A model that cannot be loaded as it is written: the daemon starts, says so, and serves the rest."""

import yaml

from tests.scenarios.daemon import command, config, model
from tests.unit.gguf.gguf_files import F32, LLAMA, write_model

SERVICES = {
    "rehearsal": {"engine": "fake", "runtime": "process"},
    "local": {"engine": "xllamacpp", "runtime": "process", "models_dir": "./models"},
}
ADDED = {"service": "rehearsal", "vram_mb": 300, "aliases": ["more"], "fake": {"load_s": 0.1}}


def listed(daemon):
    return {each["id"]: each for each in daemon.http.get("/models").json()["data"]}


def bring(daemon, name):
    folder = daemon.directory / "models"
    folder.mkdir(exist_ok=True)
    return write_model(folder / name, LLAMA, [("t", (64, 100), F32)], whole=True)


def test_one_missing_file_and_one_renamed_service_keep_nobody_down(daemons):
    daemon = daemons({"a": model(100)}, services=SERVICES)
    bring(daemon, "m.gguf")
    for name, body in (("added", {"service": "local", "file": "m.gguf"}), ("other", ADDED)):
        assert daemon.http.put(f"/models/{name}", json=body).status_code == 200
    assert daemon.end() == 0
    (daemon.directory / "models" / "m.gguf").unlink()
    models = {
        "a": model(100),
        "written": {"service": "local", "file": "gone.gguf", "preload": True},
        "more": model(5),  # what `other` calls itself as well
    }
    daemon.configure(config(models, services=SERVICES))

    code, said = command(daemon.directory, "config", "check", str(daemon.file))
    assert code == 2
    assert "models.written.file" in said
    daemon.start()
    daemon.load("a")
    states = {name: each["state"] for name, each in listed(daemon).items()}
    failed = dict.fromkeys(("written", "added", "other"), "failed")
    assert states == failed | {"a": "loaded", "more": "unloaded"}
    for name in failed:
        told = listed(daemon)[name]["failure"]
        refused = daemon.refused(name)
        assert (refused["code"], refused["cause"]) == ("load_failed", told["cause"])
        assert told["detail"] in refused["detail"]
        assert refused["remedy"] == told["remedy"]
        plan = daemon.post("/models/plan", {"model": name}).json()
        assert (plan["fits"], plan["refusal"]["detail"]) == (False, refused["detail"])
        assert any(name in reason for reason in daemon.http.get("/health/ready").json()["reasons"])
        assert daemon.decisions("catalogue", name), "it is in the log of decisions"
    assert (
        str(daemon.directory / "state" / "models.json")
        in listed(daemon)["added"]["failure"]["detail"]
    )

    bring(daemon, "gone.gguf")  # back, and found without a restart
    assert "cannot be loaded" not in daemon.post("/models/plan", {"model": "written"}).text
    assert listed(daemon)["written"]["failure"] is None
    reload = daemon.post("/admin/reload")
    assert reload.status_code == 422
    assert "models.json: added: file" in reload.text
    for name in ("added", "other"):
        assert daemon.http.delete(f"/models/{name}").status_code == 204
    assert daemon.post("/admin/reload").status_code == 200
    assert daemon.http.get("/health/ready").json()["reasons"] == []
    assert "Traceback" not in daemon.log()


def test_a_running_server_of_a_model_that_failed_is_adopted_and_given_out(daemons):
    daemon = daemons({"a": model(100)})
    assert daemon.http.put("/models/added", json=ADDED).status_code == 200
    daemon.load("added")
    (server,) = daemon.servers()
    daemon.kill()
    daemon.configure(daemon.settings | {"models": {"more": model(5)}})
    daemon.start()
    assert listed(daemon)["added"]["failure"]["cause"] == "configuration"
    assert daemon.servers() == [server]
    assert daemon.load("added")["already_loaded"]
    daemon.unload("added")
    assert daemon.refused("added")["code"] == "load_failed"


def test_a_check_looks_at_what_was_added(daemons):
    daemon = daemons({"a": model(100)})
    assert daemon.http.put("/models/added", json=ADDED).status_code == 200
    assert daemon.end() == 0
    check = ("config", "check", str(daemon.file))
    assert command(daemon.directory, *check) == (
        0,
        f"{daemon.file} is right: models: 1, services: 1, added through the API: 1.\n",
    )
    renamed = {"practice": daemon.settings["services"]["rehearsal"]}
    daemon.file.write_text(yaml.safe_dump(daemon.settings | {"services": renamed, "models": {}}))
    code, said = command(daemon.directory, *check)
    assert code == 2
    assert "models.json: added: service" in said
    assert "DELETE /models/added" in said
