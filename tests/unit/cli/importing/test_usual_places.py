"""Model files in the places where other programs keep them."""

from orchestrator.catalogue.found.seen import ModelPlace, PlaceKind
from orchestrator.cli.importing.usual_places import FINDS_MAX, models, places


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(name)


def folder(path):
    return ModelPlace(PlaceKind.FOLDER, path)


def test_models_are_found_as_the_daemon_finds_them(tmp_path):
    """By their headers: what is none is told with the reason, and parts are one model."""
    put(tmp_path / "some", "a.gguf", "notes.txt")
    put(tmp_path / "big", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf")
    put(tmp_path / ".trash", "c.gguf")
    (tmp_path / "link.gguf").symlink_to(tmp_path / "some" / "a.gguf")
    found = models([folder(tmp_path)])
    assert [find.name for find in found] == ["link", "b"]
    assert all("GGUF" in find.files.problem for find in found)


def test_a_cache_of_a_hub_is_looked_into_by_its_branches(tmp_path):
    repository = tmp_path / "models--o--r"
    put(repository / "blobs", "abc")
    put(repository / "refs", "main")
    (repository / "refs" / "main").write_text("ab12")
    snapshot = repository / "snapshots" / "ab12"
    snapshot.mkdir(parents=True)
    (snapshot / "a.gguf").symlink_to("../../blobs/abc")
    (snapshot / "gone.gguf").symlink_to("../../blobs/none")
    place = ModelPlace(PlaceKind.HUGGING_FACE, tmp_path)
    assert [find.path for find in models([place])] == [snapshot / "a.gguf"]


def test_a_list_ends(tmp_path):
    put(tmp_path, *(f"{number}.gguf" for number in range(FINDS_MAX + 3)))
    assert len(models([folder(tmp_path)])) == FINDS_MAX


def test_places_are_those_that_are_there(tmp_path):
    put(tmp_path / "models")
    put(tmp_path / "hf" / "hub")
    put(tmp_path / "more")
    environ = {
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "MODELS_DIR": "/nowhere/at/all",
    }
    found = places(environ, [tmp_path / "more", tmp_path / "models"])
    assert found[0] == folder(tmp_path / "more")
    assert found.count(folder(tmp_path / "models")) == 1
    assert ModelPlace(PlaceKind.HUGGING_FACE, tmp_path / "hf" / "hub") in found
