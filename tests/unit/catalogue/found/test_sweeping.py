"""What a look at real folders sees."""

import json
import os

import pytest

from orchestrator.catalogue.found import sweeping
from orchestrator.catalogue.found.seen import ModelPlace, PlaceKind
from orchestrator.catalogue.found.sweeping import DEPTH_MAX, sweep

DIGEST, COMMIT = "b" * 64, "c" * 40


def put(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(place, kind=PlaceKind.FOLDER):
    return [str(file.path.relative_to(place)) for file in sweep([ModelPlace(kind, place)]).files]


def test_every_gguf_under_a_folder_is_seen(tmp_path):
    for name in ("a.gguf", "deep/er/b.GGUF", "notes.txt", ".hidden/c.gguf", ".d.gguf"):
        put(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.gguf")
    assert names(tmp_path) == ["a.gguf", "deep/er/b.GGUF"]
    (file,) = sweep([ModelPlace(PlaceKind.FOLDER, tmp_path / "deep")]).files
    status = (tmp_path / "deep/er/b.GGUF").stat()
    assert file.state == (status.st_size, status.st_mtime_ns)
    assert file.identity == (status.st_dev, status.st_ino)


def test_links_are_followed_and_loops_end(tmp_path):
    put(tmp_path / "elsewhere" / "a.gguf")
    models = tmp_path / "models"
    models.mkdir()
    (models / "linked.gguf").symlink_to(tmp_path / "elsewhere" / "a.gguf")
    (models / "folder").symlink_to(tmp_path / "elsewhere")
    (models / "again").symlink_to(models)
    (models / "itself").symlink_to(models / "itself")
    (models / "nowhere.gguf").symlink_to(models / "gone")
    assert names(models) == ["linked.gguf", "folder/a.gguf"]


def test_bounds_are_kept_and_said(tmp_path, monkeypatch):
    put(tmp_path / "/".join("x" * (DEPTH_MAX + 1)) / "a.gguf")
    deep = sweep([ModelPlace(PlaceKind.FOLDER, tmp_path)])
    assert deep.files == ()
    assert "folders deeper than" in deep.notes[0]
    for n in range(5):
        put(tmp_path / f"{n}.gguf")
    monkeypatch.setattr(sweeping, "FILES_MAX", 3)
    many = sweep([ModelPlace(PlaceKind.FOLDER, tmp_path)])
    assert len(many.files) == 3
    assert "more than 3 model files" in many.notes[0]
    monkeypatch.setattr(sweeping, "ENTRIES_MAX", 2)
    assert "more than 2 entries" in sweep([ModelPlace(PlaceKind.FOLDER, tmp_path)]).notes[0]


def test_a_folder_that_is_not_there_is_a_note_and_a_store_is_not(tmp_path):
    gone = tmp_path / "gone"
    assert sweep([ModelPlace(PlaceKind.FOLDER, gone)]).notes == (
        f"There is no folder {gone}: no models are found there.",
    )
    for kind in (PlaceKind.HUGGING_FACE, PlaceKind.OLLAMA):
        assert sweep([ModelPlace(kind, gone)]).notes == ()


def test_what_cannot_be_read_now_is_not_taken_for_empty(tmp_path):
    place = ModelPlace(PlaceKind.FOLDER, put(tmp_path / "file"))
    seen = sweep([place])
    assert seen.unread == {place}
    assert "stays" in seen.notes[0]


def test_the_hugging_face_cache_shows_what_its_branches_mean(tmp_path):
    repository = tmp_path / "models--org--repo"
    put(repository / "refs" / "main", COMMIT)
    blob = put(repository / "blobs" / DIGEST)
    for commit in (COMMIT, "d" * 40):
        link = repository / "snapshots" / commit / "Q4" / "a.gguf"
        link.parent.mkdir(parents=True)
        link.symlink_to(blob)
    put(repository / "blobs" / f"{DIGEST}.incomplete")
    put(tmp_path / "datasets--org--x" / "a.gguf")
    found = names(tmp_path, PlaceKind.HUGGING_FACE)
    assert found == [f"models--org--repo/snapshots/{COMMIT}/Q4/a.gguf"]


def test_ollamas_manifests_name_its_blobs(tmp_path):
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{DIGEST}"}
    told = {"mediaType": "application/vnd.ollama.image.params", "digest": f"sha256:{'e' * 64}"}
    where = tmp_path / "manifests" / "registry.ollama.ai" / "library" / "small"
    put(where / "latest", json.dumps({"layers": [layer, told]}))
    put(where / "gone", json.dumps({"layers": [layer | {"digest": f"sha256:{'f' * 64}"}]}))
    put(where / "odd", "no manifest")
    put(tmp_path / "blobs" / f"sha256-{DIGEST}")
    put(tmp_path / "blobs" / f"sha256-{'e' * 64}", '{"num_ctx": 2048}')
    (file,) = sweep([ModelPlace(PlaceKind.OLLAMA, tmp_path)]).files
    assert (file.called, file.context_size) == ("small", 2048)
    assert file.path == tmp_path / "blobs" / f"sha256-{DIGEST}"


@pytest.mark.parametrize("commit", ["../../../etc", ""])
def test_a_ref_leads_nowhere_else(tmp_path, commit):
    put(tmp_path / "models--org--repo" / "refs" / "main", commit)
    put(tmp_path / "models--org--repo" / "a.gguf")
    assert names(tmp_path, PlaceKind.HUGGING_FACE) == []
