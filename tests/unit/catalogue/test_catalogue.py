"""The catalogue that is in force: orders become specs, models come and go at run time."""

import asyncio
import json
import os
import threading
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.catalogue import catalogue as module
from orchestrator.catalogue.added import ADDED_FILE
from orchestrator.catalogue.catalogue import RESOLVED_AGAIN_MAX, Catalogue
from orchestrator.catalogue.found.discovery import Discovery, places
from orchestrator.catalogue.learned import Experience, fingerprint
from orchestrator.catalogue.predictions import Predictions, UnderSettings
from orchestrator.config.loading import load_config
from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.measurements import Measurement
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.specs import Fallback
from orchestrator.core.values.vram import MiB
from orchestrator.errors import ConfigInvalid, Denied, RegistryFailed
from orchestrator.gguf.headers import Headers
from orchestrator.orders import LoadOrder
from orchestrator.records import LearnedRecord
from tests.unit.gguf.gguf_files import F32, LLAMA, write_model

FILE = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services:
  rehearsal: {engine: fake}
models:
  chat: {service: rehearsal, vram_mb: 6000, aliases: [talk]}
  draw: {service: rehearsal, vram_mb: 100}
"""
NEW = {"service": "rehearsal", "vram_mb": 200}
ESTIMATED = Footprint(device_bytes=7, provenance=Provenance.ESTIMATED)
LESS = replace(ESTIMATED, device_bytes=5)


class Estimating(Predictions):
    """Knows the answer, whatever is asked."""

    def __init__(self):
        super().__init__(Headers())
        self.asked = []
        self.meanwhile = lambda: None

    def under(self, serving, spec):
        self.asked.append((serving.context_size, threading.current_thread()))
        self.meanwhile()
        less = replace(serving, context_size=1024)
        step = Fallback(serving=less, footprint=LESS, given_up=("context",))
        return UnderSettings(ESTIMATED, ESTIMATED, (step,) if spec.degrade else ())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "orchestrator.yaml"
    path.write_text(FILE)
    (tmp_path / "state").mkdir()
    return path


@pytest.fixture
def opened(file):
    """Open a catalogue on the file as it is now; as a restart would."""

    def open_catalogue(*, learned=(), predictions=None):
        def load():
            return load_config(file, environ={})

        return Catalogue(
            config=load(),
            load=load,
            experience=Experience(learned),
            predictions=predictions or Predictions(Headers()),
            cached={}.get,
        )

    return open_catalogue


@pytest.fixture
def catalogue(opened):
    return opened()


def refusal(act):
    with pytest.raises(Denied) as denied:
        act()
    return denied.value.refusal


def resolved(catalogue, **order):
    return asyncio.run(catalogue.resolve(LoadOrder(**order)))


def test_other_settings_are_estimated_anew(opened):
    catalogue = opened(predictions=Estimating())
    assert resolved(catalogue, model="chat").footprint.device_bytes == 6000 * MiB
    wider = resolved(catalogue, model="chat", context_size=32768)
    assert (wider.serving.context_size, wider.footprint) == (32768, ESTIMATED)


def at_once(work):
    """What a coroutine returns that never gives way."""
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    return ended.value.value


def test_what_is_not_known_of_an_order_is_found_out_in_a_thread_and_once(opened, file):
    catalogue = opened(predictions=Estimating())
    order = LoadOrder(model="chat", context_size=65536)
    spec = asyncio.run(catalogue.resolve(order))
    [(context, thread)] = catalogue.predictions.asked
    assert context == 65536
    assert thread is not threading.main_thread()
    assert at_once(catalogue.resolve(order)) == spec
    asyncio.run(catalogue.reload())
    asyncio.run(catalogue.resolve(order))
    assert len(catalogue.predictions.asked) == 2, "its file may be another one now"
    assert refusal(lambda: resolved(catalogue, model="nobody", context_size=65536))


def test_a_model_as_configured_is_resolved_at_once_to_what_is_believed(opened):
    catalogue = opened(predictions=Estimating())
    assert at_once(catalogue.resolve(LoadOrder(model="talk"))) is catalogue.believed["chat"]
    same = LoadOrder(model="chat", context_size=catalogue.named("chat").serving.context_size)
    assert at_once(catalogue.resolve(same)) is catalogue.believed["chat"]
    assert catalogue.predictions.asked == []


def test_an_order_holds_for_the_catalogue_at_the_moment_it_is_resolved(opened, file):
    catalogue = opened(predictions=Estimating())
    texts = [FILE.replace("vram_mb: 6000", "vram_mb: 6000, priority: 9")]

    async def scene():
        loop = asyncio.get_running_loop()

        def reload_meanwhile():
            if texts:
                file.write_text(texts.pop())
                asyncio.run_coroutine_threadsafe(catalogue.reload(), loop).result()

        catalogue.predictions.meanwhile = reload_meanwhile
        return await catalogue.resolve(LoadOrder(model="chat", context_size=65536))

    assert asyncio.run(scene()).priority == 9


def test_a_model_that_is_taken_out_while_its_order_is_resolved_is_unknown(opened, file):
    catalogue = opened(predictions=Estimating())

    async def scene():
        loop = asyncio.get_running_loop()

        def take_out():
            file.write_text(FILE.replace("  chat:", "  other:"))
            asyncio.run_coroutine_threadsafe(catalogue.reload(), loop).result()

        catalogue.predictions.meanwhile = take_out
        await catalogue.resolve(LoadOrder(model="chat", context_size=65536))

    assert refusal(lambda: asyncio.run(scene())).code is RefusalCode.UNKNOWN_MODEL


def test_a_model_that_is_changed_again_and_again_is_not_resolved_for_ever(opened, file):
    catalogue = opened(predictions=Estimating())

    async def scene():
        loop = asyncio.get_running_loop()

        def change():
            priority = len(catalogue.predictions.asked) % 2 + 1
            file.write_text(FILE.replace("vram_mb: 6000", f"vram_mb: 6000, priority: {priority}"))
            asyncio.run_coroutine_threadsafe(catalogue.reload(), loop).result()

        catalogue.predictions.meanwhile = change
        await catalogue.resolve(LoadOrder(model="chat", context_size=65536))

    assert refusal(lambda: asyncio.run(scene())).code is RefusalCode.CONFLICT
    assert len(catalogue.predictions.asked) == RESOLVED_AGAIN_MAX


def test_where_nobody_can_estimate_the_declared_footprint_stands(catalogue):
    wider = resolved(catalogue, model="chat", context_size=32768)
    assert wider.footprint == catalogue.named("chat").footprint


def learned(spec, device_bytes, load_s=3.0):
    footprint = Footprint(device_bytes=device_bytes, provenance=Provenance.MEASURED)
    return LearnedRecord(
        model=spec.name,
        settings=fingerprint(spec),
        footprint=footprint,
        load_s=load_s,
        measured_at=datetime.now(UTC),
        measurements=(
            Measurement(
                predicted_bytes=spec.footprint.device_bytes,
                settled_bytes=device_bytes,
                peak_bytes=device_bytes,
            ),
        ),
    )


def test_what_was_measured_replaces_what_was_declared(catalogue, opened):
    knowing = opened(learned=[learned(catalogue.named("chat"), 5 * MiB)])
    spec = resolved(knowing, model="chat")
    assert (spec.footprint.device_bytes, spec.load_s) == (5 * MiB, 3.0)


def test_the_catalogue_is_shown_as_it_is_believed(catalogue, opened):
    assert opened().believed == catalogue.specs
    knowing = opened(learned=[learned(catalogue.named("chat"), 7000 * MiB)])
    believed = knowing.believed["chat"].footprint
    assert (believed.device_bytes, believed.provenance) == (7000 * MiB, Provenance.MEASURED)
    assert knowing.specs == catalogue.specs, "what the operator said stays what he said"


def test_what_was_measured_holds_for_those_settings_only(catalogue, opened):
    knowing = opened(learned=[learned(catalogue.named("chat"), 5 * MiB)])
    wider = resolved(knowing, model="chat", context_size=32768)
    assert wider.footprint.device_bytes == 6000 * MiB


def test_a_failed_load_teaches_no_load_time(catalogue, opened):
    knowing = opened(learned=[learned(catalogue.named("chat"), 5 * MiB, load_s=None)])
    assert resolved(knowing, model="chat").load_s == catalogue.named("chat").load_s


def test_the_fingerprint_goes_by_what_occupies_bytes(catalogue):
    chat = catalogue.named("chat")
    assert fingerprint(chat) == fingerprint(replace(chat, priority=9, ttl_s=1.0, load_s=2.0))
    for changed in (
        replace(chat, file="/m.gguf"),
        replace(chat, span=2),
        replace(chat, lora=("/l.gguf",)),
        replace(chat, serving=replace(chat.serving, context_size=1)),
    ):
        assert fingerprint(changed) != fingerprint(chat)


# --- at run time -------------------------------------------------------------------------------


def test_a_model_that_was_put_is_there_after_a_restart(catalogue, opened):
    spec = asyncio.run(catalogue.put("new", NEW))
    assert spec.footprint.device_bytes == 200 * MiB
    assert opened().named("new") == catalogue.named("new") == spec


def test_a_mistake_in_a_new_model_changes_nothing(catalogue, opened):
    with pytest.raises(ConfigInvalid):
        asyncio.run(catalogue.put("new", {"service": "rehearsal", "vrma_mb": 1}))
    assert "new" not in catalogue.specs
    assert "new" not in opened().specs


def test_puts_side_by_side_lose_nobody(catalogue, opened):
    names = ["one", "two", "three"]

    async def put_all():
        await asyncio.gather(*(catalogue.put(name, NEW) for name in names))

    asyncio.run(put_all())
    for known in (catalogue, opened()):
        assert set(names) < set(known.specs)


def test_a_put_a_reload_and_a_delete_side_by_side_all_hold(catalogue, opened, file):
    asyncio.run(catalogue.put("old", NEW))
    file.write_text(FILE.replace("vram_mb: 6000", "vram_mb: 5000"))

    async def change_all():
        await asyncio.gather(catalogue.put("new", NEW), catalogue.reload(), catalogue.delete("old"))

    asyncio.run(change_all())
    for known in (catalogue, opened()):
        assert set(known.specs) == {"chat", "draw", "new"}
        assert known.named("chat").footprint.device_bytes == 5000 * MiB


READING = """
services:
  wheel: {engine: xllamacpp, models_dir: /models}
models: {}
"""


def test_files_are_never_read_on_the_loop(file, opened):
    file.write_text(READING)
    predictions = Reading()
    catalogue = opened(predictions=predictions)
    predictions.asked.clear()
    asyncio.run(catalogue.put("new", {"service": "wheel", "file": "b.gguf"}))
    asyncio.run(catalogue.put("other", {"service": "wheel", "file": "c.gguf"}))
    asyncio.run(catalogue.delete("other"))
    asyncio.run(catalogue.reload())
    assert {name for name, _ in predictions.asked} == {"new", "other"}
    assert threading.main_thread() not in {thread for _, thread in predictions.asked}


def test_a_change_that_is_stuck_is_not_waited_for_for_ever(opened, monkeypatch):
    monkeypatch.setattr(module, "CHANGE_WAIT_S_MAX", 0.05)
    catalogue, goes_on = opened(), threading.Event()

    def stuck_load():
        goes_on.wait(10)
        return catalogue.config

    catalogue._load = stuck_load

    async def scene():
        stuck = asyncio.create_task(catalogue.reload())
        await asyncio.sleep(0)
        with pytest.raises(Denied, match="has not ended"):
            await catalogue.put("new", NEW)
        goes_on.set()
        await stuck
        await catalogue.put("new", NEW)

    asyncio.run(scene())
    assert "new" in catalogue.specs


def test_a_disk_that_refuses_changes_nothing(catalogue, tmp_path):
    (tmp_path / "state" / ADDED_FILE).mkdir()
    with pytest.raises(RegistryFailed, match=ADDED_FILE):
        asyncio.run(catalogue.put("new", NEW))
    assert "new" not in catalogue.specs


def test_only_what_was_added_can_be_deleted(catalogue, opened):
    asyncio.run(catalogue.put("new", NEW))
    asyncio.run(catalogue.delete("new"))
    assert "new" not in catalogue.specs
    assert "new" not in opened().specs
    assert refusal(lambda: asyncio.run(catalogue.delete("chat"))).code is RefusalCode.CONFLICT


def test_added_models_are_kept_as_they_were_said(catalogue, tmp_path):
    asyncio.run(catalogue.put("new", NEW))
    assert json.loads((tmp_path / "state" / ADDED_FILE).read_text()) == {"new": NEW}


# --- reload ------------------------------------------------------------------------------------


def test_a_reload_names_what_changed(catalogue, file):
    text = FILE.replace("vram_mb: 6000", "vram_mb: 5000") + "scheduling: {patience_s: 5}\n"
    file.write_text(text)
    outcome = asyncio.run(catalogue.reload())
    assert outcome.changed == ("models.chat", "scheduling")
    assert outcome.needs_restart == ()
    assert catalogue.named("chat").footprint.device_bytes == 5000 * MiB


def test_a_reload_keeps_what_was_added_at_run_time(catalogue, file):
    asyncio.run(catalogue.put("new", NEW))
    assert asyncio.run(catalogue.reload()).changed == ()
    assert "new" in catalogue.specs


def test_a_reload_names_what_only_a_restart_can_change(catalogue, file):
    text = FILE.replace("models:", "  other: {engine: fake}\nmodels:").replace("8192", "9000")
    file.write_text(text + "server: {port: 9000}\n")
    outcome = asyncio.run(catalogue.reload())
    assert outcome.needs_restart == ("devices", "server", "services.other")


def test_a_reload_of_a_broken_file_changes_nothing(catalogue, file):
    before = (catalogue.config, catalogue.specs)
    file.write_text("models: 7\n")
    with pytest.raises(ConfigInvalid):
        asyncio.run(catalogue.reload())
    assert (catalogue.config, catalogue.specs) == before


# --- models of a hub --------------------------------------------------------------------------

ON_A_HUB = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services:
  local: {engine: xllamacpp}
models:
  far: {service: local, file: "org/repo:far.gguf", auto_download: true}
  declared: {service: local, file: "org/repo:far.gguf", vram_mb: 100}
"""


class Reading(Estimating):
    """Tells what any file takes."""

    def footprint(self, spec):
        self.asked.append((spec.name, threading.current_thread()))
        return ESTIMATED


@pytest.fixture
def hub_catalogue(file):
    file.write_text(ON_A_HUB)

    def open_catalogue(cached):
        def load():
            return load_config(file, environ={})

        return Catalogue(
            config=load(),
            load=load,
            experience=Experience(),
            predictions=Reading(),
            cached=cached.get,
        )

    return open_catalogue


def test_a_model_of_a_hub_has_no_file_and_no_size_yet(hub_catalogue):
    far = hub_catalogue({}).specs["far"]
    assert (far.file, far.footprint.provenance) == (None, Provenance.UNKNOWN)
    assert (far.hub, far.supplied, far.auto_download) == ("org/repo:far.gguf", True, True)
    declared = hub_catalogue({}).specs["declared"]
    assert (declared.footprint.device_bytes, declared.auto_download) == (100 * MiB, False)


def test_what_was_pulled_before_is_like_any_other_file(hub_catalogue, tmp_path):
    here = tmp_path / "far.gguf"
    catalogue = hub_catalogue({"org/repo:far.gguf": here}).specs
    assert (catalogue["far"].file, catalogue["far"].footprint) == (str(here), ESTIMATED)
    assert catalogue["declared"].footprint == ESTIMATED, "a file is believed before vram_mb"


def test_what_was_brought_is_believed_from_then_on(hub_catalogue):
    catalogue = hub_catalogue({})
    wanted = resolved(catalogue, model="far", context_size=1024)
    found = replace(wanted, file="/cache/far.gguf", mmproj="/cache/eye.gguf", footprint=ESTIMATED)
    assert asyncio.run(catalogue.take_in(found)) == found
    known = resolved(catalogue, model="far")
    assert (known.file, known.mmproj, known.footprint) == (found.file, found.mmproj, ESTIMATED)
    assert known.serving.context_size != 1024


def test_what_was_brought_for_a_model_that_changed_meanwhile_is_not(hub_catalogue):
    catalogue = hub_catalogue({})
    other = replace(catalogue.specs["far"], hub="org/other:a.gguf", file="/cache/a.gguf")
    asyncio.run(catalogue.take_in(other))
    assert catalogue.specs["far"].file is None


def test_nobody_can_have_files_downloaded_from_outside(hub_catalogue):
    catalogue = hub_catalogue({})
    body = {"service": "local", "file": "org/repo:new.gguf", "auto_download": True}
    with pytest.raises(ConfigInvalid, match="auto_download"):
        asyncio.run(catalogue.put("new", body))


# --- models that nobody wrote down ---------------------------------------------------------------


FOUND = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
discovery: {folders: [models]}
services: {local: {engine: xllamacpp, models_dir: models}}
models:
  chat: {file: chat.gguf, vram_mb: 6000, aliases: [talk]}
"""


@pytest.fixture
def finding(file, tmp_path):
    """A catalogue that has looked once, and a way to put files into its folder."""
    models = tmp_path / "models"
    models.mkdir()

    def put(name):
        write_model(models / name, LLAMA, [("t", (64, 100), F32)], whole=True)
        os.utime(models / name, (0, 0))

    put("chat.gguf")
    put("a.gguf")
    file.write_text(FOUND)
    headers = Headers()

    def load():
        return load_config(file, environ={}, estimate=Predictions(headers).footprint)

    catalogue = Catalogue(
        config=load(),
        load=load,
        experience=Experience(()),
        predictions=Predictions(headers),
        cached={}.get,
        discovery=Discovery(lambda on: places(on, tmp_path / "hf", ()), headers.of),
    )
    assert asyncio.run(catalogue.sweep())
    return catalogue, put, models


def test_what_is_found_is_in_the_catalogue_beside_what_is_written(finding):
    catalogue, put, models = finding
    assert set(catalogue.specs) == {"chat", "a"}
    assert not asyncio.run(catalogue.sweep())
    put("b.gguf")
    assert asyncio.run(catalogue.sweep())
    (models / "a.gguf").unlink()
    assert asyncio.run(catalogue.sweep())
    assert set(catalogue.specs) == {"chat", "b"}
    assert not catalogue.specs["b"].footprint.unknown


def test_what_is_added_takes_the_place_of_what_is_found(finding):
    catalogue, _, models = finding
    body = {"file": str(models / "a.gguf"), "context_size": 512, "aliases": ["mine"]}
    assert not asyncio.run(catalogue.put("other", body)).found
    assert set(catalogue.specs) == {"chat", "other"}, "the same file"
    asyncio.run(catalogue.delete("other"))
    assert set(catalogue.specs) == {"chat", "a"}
    asyncio.run(catalogue.put("a", body))
    assert catalogue.specs["a"].serving.context_size == 512, "the same name"


def test_what_is_found_can_only_be_taken_away_by_its_file(finding):
    catalogue, _, models = finding
    said = refusal(lambda: asyncio.run(catalogue.delete("a")))
    assert str(models / "a.gguf") in said.detail


def test_a_bad_file_keeps_no_reload_from_happening(finding, file):
    catalogue, put, models = finding
    (models / "bad.gguf").write_text("no model")
    os.utime(models / "bad.gguf", (0, 0))
    asyncio.run(catalogue.sweep())
    assert "not a GGUF" in catalogue.specs["bad"].failed.detail
    assert not asyncio.run(catalogue.look_again("bad"))
    put("b.gguf")
    assert asyncio.run(catalogue.reload()).changed == ("models.b",)
    file.write_text(FOUND.replace("discovery", "#"))
    assert set(asyncio.run(catalogue.reload()).changed) == {"models.a", "models.b", "models.bad"}
    assert set(catalogue.specs) == {"chat"}


def test_what_could_not_be_looked_at_is_said(finding):
    catalogue, _, models = finding
    list(catalogue.news())
    models.rename(models.with_name("away"))
    asyncio.run(catalogue.sweep())
    assert catalogue.doubts == (f"There is no folder {models}: no models are found there.",)
    assert [said.text for said in catalogue.news()] == list(catalogue.doubts)


def test_a_find_that_another_change_kept_out_comes_in_with_the_next_sweep(finding, monkeypatch):
    catalogue, put, _ = finding
    monkeypatch.setattr(module, "CHANGE_WAIT_S_MAX", 0.01)
    put("b.gguf")

    async def scene():
        async with catalogue._change():
            with pytest.raises(Denied):
                await catalogue.sweep()
        return await catalogue.sweep()

    assert asyncio.run(scene())
    assert "b" in catalogue.specs
