"""The file of the models that were put through the API."""

import asyncio
import json

import pytest

from orchestrator.catalogue.added import ADDED_FILE, check_added, read_added, write_added
from orchestrator.catalogue.catalogue import Catalogue
from orchestrator.catalogue.learned import Experience
from orchestrator.catalogue.predictions import Predictions
from orchestrator.config.loading import load_config
from orchestrator.core.values.failures import FailureReason
from orchestrator.errors import ConfigInvalid, RegistryFailed
from orchestrator.gguf.headers import Headers
from tests.unit.gguf.gguf_files import F32, LLAMA, write_model

ADDED = {"new": {"service": "rehearsal", "vram_mb": 200}}


def test_what_is_written_is_read_again_and_before_that_there_is_none(tmp_path):
    assert read_added(tmp_path) == {}
    write_added(tmp_path, ADDED)
    assert read_added(tmp_path) == ADDED
    assert [each.name for each in tmp_path.iterdir()] == [ADDED_FILE]


@pytest.mark.parametrize("text", ["{", "[]", '{"new": 3}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / ADDED_FILE).write_text(text)
    with pytest.raises(ConfigInvalid, match=ADDED_FILE):
        read_added(tmp_path)


def test_a_disk_that_refuses_is_said_and_nothing_is_left_there(tmp_path):
    with pytest.raises(RegistryFailed, match=ADDED_FILE):
        write_added(tmp_path / "gone", ADDED)
    (tmp_path / ADDED_FILE).mkdir()
    with pytest.raises(RegistryFailed, match=ADDED_FILE):
        write_added(tmp_path, ADDED)
    assert [each.name for each in tmp_path.iterdir()] == [ADDED_FILE]


# --- models that cannot be loaded as they are written: they keep no daemon down -----------------

FILE = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services:
  rehearsal: {engine: fake}
  local: {engine: xllamacpp, models_dir: models}
models:
  chat: {service: rehearsal, vram_mb: 6000, aliases: [talk]}
  file: {service: local, file: file.gguf, aliases: [paper], priority: 7}
"""
MORE = {"service": "local", "file": "added.gguf", "aliases": ["more"]}


class Place:
    """A configuration with its models and its state; `open` is a start."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "orchestrator.yaml"
        self.kept_in = folder / "state" / ADDED_FILE
        self.predictions = Predictions(Headers())
        (folder / "models").mkdir()
        (folder / "state").mkdir()
        self.write(FILE)
        self.bring("file.gguf")

    def write(self, text):
        self.file.write_text(text)

    def bring(self, name):
        write_model(self.folder / "models" / name, LLAMA, [("t", (64, 100), F32)], whole=True)

    def lose(self, name):
        (self.folder / "models" / name).unlink()

    def load(self, *, lenient=False):
        estimate = self.predictions.footprint
        return load_config(self.file, environ={}, estimate=estimate, lenient=lenient)

    def open(self):
        return Catalogue(
            config=self.load(lenient=True),
            load=self.load,
            experience=Experience(),
            predictions=self.predictions,
            cached={}.get,
        )

    def add(self, name="added", **changes):
        self.bring("added.gguf")
        asyncio.run(self.open().put(name, MORE | changes))


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def failure(catalogue, name):
    found = catalogue.named(name).failed
    assert found is not None
    return found


def refused(act):
    with pytest.raises(ConfigInvalid) as caught:
        act()
    return "\n".join(caught.value.mistakes)


def test_a_missing_file_fails_its_model_and_nothing_else(place):
    place.lose("file.gguf")
    catalogue = place.open()
    assert catalogue.named("chat").failed is None
    found = failure(catalogue, "paper")
    assert found.reason is FailureReason.MODEL_FILE
    assert f"{place.file}: models.file.file: cannot be used" in found.detail
    assert "No such file" in found.detail
    assert f"correct {place.file}" in found.remedy
    assert catalogue.named("file").priority == 7


def test_a_check_and_a_reload_stay_strict(place):
    catalogue = place.open()
    place.lose("file.gguf")
    assert "models.file.file: cannot be used" in refused(place.load)
    assert "models.file.file: cannot be used" in refused(lambda: asyncio.run(catalogue.reload()))
    assert catalogue.named("file").failed is None, "nothing has changed"


def test_what_is_written_wrong_still_keeps_a_start_from_happening(place):
    place.lose("file.gguf")
    place.write(FILE.replace("priority: 7", "priority: seven"))
    said = refused(lambda: place.load(lenient=True))
    assert "models.file.priority" in said
    assert "models.file.file" in said, "all of it at once"


def test_a_file_that_is_back_is_found_without_a_restart(place):
    place.lose("file.gguf")
    catalogue = place.open()
    assert not asyncio.run(catalogue.look_again("file")), "it is still missing"
    place.bring("file.gguf")
    assert asyncio.run(catalogue.look_again("paper"))
    assert catalogue.specs == place.open().specs, "as if it had never been away"
    assert not asyncio.run(catalogue.look_again("file")), "it is right: nothing to look at"


def test_a_file_that_is_back_is_found_by_a_reload(place):
    place.lose("file.gguf")
    catalogue = place.open()
    place.bring("file.gguf")
    assert asyncio.run(catalogue.reload()).changed == ("models.file",)
    assert catalogue.named("file").failed is None


def test_what_failed_and_what_is_mended_is_said_once(place):
    place.lose("file.gguf")
    catalogue = place.open()
    [said] = catalogue.news()
    assert (said.model, said.why) == ("file", "model_file")
    assert "file cannot be loaded as it is written" in said.text
    assert catalogue.news() == ()
    place.bring("file.gguf")
    asyncio.run(catalogue.look_again("file"))
    assert [each.text for each in catalogue.news()] == [
        "file can be loaded again: what was wrong with it is mended."
    ]


def lose_the_file(place):
    place.lose("added.gguf")


def rename_the_service(place):
    place.write(FILE.replace("local", "here"))


def move_the_models(place):
    """To where the files are not."""
    text = FILE.replace("models_dir: models", "models_dir: elsewhere")
    place.write(text.replace("file: file.gguf", "file: file.gguf, vram_mb: 100"))


@pytest.mark.parametrize(
    ("change", "complaint", "reason"),
    [
        (lose_the_file, "file: cannot be used", FailureReason.MODEL_FILE),
        (rename_the_service, 'service: "local" is not a service', FailureReason.CONFIGURATION),
        (move_the_models, "file: cannot be used", FailureReason.MODEL_FILE),
    ],
)
def test_an_added_model_whose_world_changed_keeps_no_start_from_happening(
    place, change, complaint, reason
):
    place.add()
    change(place)
    catalogue = place.open()
    found = failure(catalogue, "added")
    assert found.reason is reason
    assert f"{place.kept_in}: added: {complaint}" in found.detail
    assert "DELETE /models/added" in found.remedy
    assert catalogue.named("added").service == "local"
    assert not catalogue.named("added").plain_room
    for strict in (
        lambda: check_added(place.load(), place.predictions.footprint),
        lambda: asyncio.run(catalogue.reload()),
    ):
        said = refused(strict)
        assert f"{place.kept_in}: added: {complaint}" in said
        assert "DELETE /models/added" in said
    asyncio.run(catalogue.put("other", {"service": "rehearsal", "vram_mb": 1}))
    assert failure(catalogue, "added") == found, "the others come and go"
    asyncio.run(catalogue.delete("added"))
    assert "added" not in place.open().specs
    asyncio.run(catalogue.reload())


def test_an_added_model_whose_file_is_back_is_found(place):
    place.add()
    place.lose("added.gguf")
    catalogue = place.open()
    place.bring("added.gguf")
    assert asyncio.run(catalogue.look_again("more"))
    assert catalogue.named("added").failed is None


def test_an_added_model_that_is_put_anew_is_right(place):
    place.add()
    place.lose("added.gguf")
    catalogue = place.open()
    spec = asyncio.run(catalogue.put("added", {"service": "rehearsal", "vram_mb": 5}))
    assert spec.failed is None


def test_an_added_model_whose_alias_was_taken_meanwhile_keeps_its_name(place):
    place.add()
    place.write(FILE.replace("[talk]", "[talk, more]"))
    catalogue = place.open()
    assert "more is already an alias of model chat" in failure(catalogue, "added").detail
    assert catalogue.named("more").name == "chat"


@pytest.mark.parametrize("body", [{}, {"service": 5}, {"service": "local", "novel_key": 1}])
def test_whatever_was_kept_of_an_added_model_it_can_be_taken_out(place, body):
    place.kept_in.write_text(json.dumps({"odd": body}))
    catalogue = place.open()
    assert failure(catalogue, "odd").reason is FailureReason.CONFIGURATION
    asyncio.run(catalogue.delete("odd"))
    assert place.open().specs.keys() == {"chat", "file"}


def test_a_check_counts_what_was_added_and_says_what_it_may_not_read(place, monkeypatch):
    assert check_added(place.load(), place.predictions.footprint) == 0
    place.add()
    assert check_added(place.load(), place.predictions.footprint) == 1

    def forbidden(path, *_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_text", forbidden)
    assert check_added(place.load(), place.predictions.footprint) is None
