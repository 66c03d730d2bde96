"""Which files belong together, and when they are a model."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.catalogue.found.seen import ModelPlace, PlaceKind
from orchestrator.catalogue.found.sets import FileSet, arrived, file_sets, with_header
from orchestrator.gguf.errors import GgufError
from orchestrator.gguf.header import Part
from tests.unit.catalogue.found.things import S, header, model, projector, seen

NONE = frozenset()


def test_parts_of_a_split_model_are_one():
    parts = [seen(f"big-0000{n}-of-00003.gguf") for n in (2, 1, 3)]
    small, big = sorted(file_sets([*parts, seen("small.gguf")]), key=lambda each: len(each.files))
    assert [file.path.name for file in big.files] == sorted(part.path.name for part in parts)
    assert (small.stem, big.stem) == ("small", "big")
    assert big.problem is None


def test_parts_in_another_folder_are_another_model():
    one, two = seen("a-00001-of-00002.gguf"), seen("x/a-00002-of-00002.gguf")
    assert [each.problem for each in file_sets([one, two])] == [
        "lacks part 00002 of 00002",
        "lacks part 00001 of 00002",
    ]


def test_many_missing_parts_are_not_all_named():
    (one,) = file_sets([seen("a-00001-of-00009.gguf")])
    assert one.problem == "lacks part 00002, 00003, 00004, … of 00009"


def test_two_names_of_one_file_are_one_model():
    first = seen("a.gguf")
    linked = replace(seen("b.gguf"), identity=first.identity)
    assert [each.stem for each in file_sets([first, linked])] == ["a"]


def test_two_names_in_ollamas_store_are_two_models():
    blob = replace(seen("sha256-1"), called="a")
    assert len(file_sets([blob, replace(blob, called="b")])) == 2


def test_a_header_says_what_a_file_is():
    assert with_header(FileSet(files=(seen("a.gguf"),)), lambda _: header()) == model("a.gguf")
    assert projector("p.gguf").projects
    assert FileSet(files=(seen("mmproj-x.gguf"),), problem="is torn").projects
    assert model("l.gguf", header(general__type="adapter")).ignored
    assert not model("a.gguf").ignored


def refuse(path):
    raise GgufError(f"{path} is not a GGUF file")


def torn(_):
    return replace(header(), parts=(Part(Path("/m/a.gguf"), 5, 0, 10),))


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (refuse, "is not a GGUF file"),
        (torn, "is truncated: it has 5 of 10 bytes. Fetch it again"),
        (lambda _: replace(header(), tensors=()), "holds no weights: it is a vocabulary alone"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_words(read, words):
    assert with_header(FileSet(files=(seen("a.gguf"),)), read).problem == words


def test_a_projector_inside_is_ollamas_own():
    inside = header("gemma3", ("v.patch_embd.weight", (14, 14)))
    store = ModelPlace(PlaceKind.OLLAMA, Path("/o"))
    mine = with_header(FileSet(files=(seen("a.gguf"),)), lambda _: inside)
    its = with_header(FileSet(files=(seen("a.gguf", place=store),)), lambda _: inside)
    assert mine.problem is None
    assert "only Ollama's own engine" in its.problem


def test_what_is_written_to_is_no_model_yet():
    young = FileSet(files=(seen("a.gguf", at_s=99),), header=header())
    path, state = young.first.path, young.first.state
    assert not arrived(young, 100 * S, {}, NONE)
    assert not arrived(young, 100 * S, {path: (5, 0)}, NONE), "it grew since the last look"
    assert arrived(young, 100 * S, {path: state}, NONE), "it is as it was"
    assert arrived(young, 100 * S, {}, frozenset({path})), "it was a model, and is whole"
    assert arrived(young, 102 * S, {}, NONE), "nobody has written to it for a while"
    assert arrived(young, 0, {path: state}, NONE), "of another machine's future"


def test_what_is_not_whole_is_shown_when_nothing_more_comes():
    half = FileSet(files=(seen("a.gguf", at_s=100),), problem="is truncated")
    before = {half.first.path: half.first.state}
    assert not arrived(half, 130 * S, before, frozenset({half.first.path}))
    assert arrived(half, 160 * S, {}, NONE)


def test_what_a_store_says_is_wrong_is_shown_at_once():
    said = replace(seen("a"), called="a", problem="has an adapter")
    assert arrived(FileSet(files=(said,), problem="has an adapter"), 10 * S, {}, NONE)
