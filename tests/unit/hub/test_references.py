import pytest

from orchestrator.hub.failures import Cause, PullFailed
from orchestrator.hub.references import NAMES, Chosen, Reference, choose, is_projector, parse

FILES = (
    "README.md",
    "Model-Q4_K_M.gguf",
    "Model-Q4_K_S.gguf",
    "Model-UD-Q8_0.gguf",
    "BF16/Model-BF16-00001-of-00002.gguf",
    "BF16/Model-BF16-00002-of-00002.gguf",
    "mmproj-BF16.gguf",
    "mmproj-F16.gguf",
    "mmproj-F32.gguf",
)


def chosen(file: str | None, paths: tuple[str, ...] = FILES) -> Chosen:
    return choose(Reference(repo="org/Repo", file=file), paths)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("org/Repo", Reference(repo="org/Repo")),
        ("org/Repo:Q4_K_M", Reference(repo="org/Repo", file="Q4_K_M")),
        ("org/Re.po-1:a/b.gguf", Reference(repo="org/Re.po-1", file="a/b.gguf")),
        ("org/Repo@v1.0:x.gguf", Reference(repo="org/Repo", revision="v1.0", file="x.gguf")),
        ("org/Repo@refs/pr/3", Reference(repo="org/Repo", revision="refs/pr/3")),
    ],
)
def test_a_reference_is_read(text: str, reference: Reference) -> None:
    assert parse(text) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nobody",
        "org/",
        "/Repo",
        "org/Repo/more",
        "org/Repo:",
        "org/Repo:/etc/passwd",
        "org/Repo:../x.gguf",
        "org/..:x.gguf",
        "org/Repo@../../x",
        "org/Repo@",
        "org/Repo:a//b.gguf",
        "org/Repo:a\nb.gguf",
        "-org/Repo",
        "org/Repo:a\\b.gguf",
        "https://hub.example/org/Repo",
    ],
)
def test_what_is_no_reference_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(PullFailed) as caught:
        parse(text)
    assert caught.value.cause is Cause.INVALID
    assert "ORG/REPO:FILE" in caught.value.remedy


def test_a_name_that_is_nearly_one_of_ours_is_recognised() -> None:
    with pytest.raises(PullFailed) as caught:
        parse("Phi4")
    assert "Did you mean phi-4?" in caught.value.remedy


@pytest.mark.parametrize("name", NAMES)
def test_every_name_means_one_file(name: str) -> None:
    reference = parse(name)
    assert reference.file is not None
    assert reference.file.endswith(".gguf")


@pytest.mark.parametrize(
    ("file", "first"),
    [
        (None, "Model-Q4_K_M.gguf"),
        ("q4_k_m", "Model-Q4_K_M.gguf"),
        ("UD-Q8_0", "Model-UD-Q8_0.gguf"),
        ("Model-Q4_K_S.gguf", "Model-Q4_K_S.gguf"),
        ("BF16/Model-BF16-00002-of-00002.gguf", "BF16/Model-BF16-00001-of-00002.gguf"),
        ("mmproj-F32.gguf", "mmproj-F32.gguf"),
    ],
)
def test_a_file_is_chosen(file: str | None, first: str) -> None:
    assert chosen(file).parts[0] == first


def test_a_split_model_is_all_its_parts() -> None:
    assert chosen("BF16").parts == FILES[4:6]


def test_an_only_model_needs_no_name() -> None:
    assert chosen(None, ("a-IQ2_XS.gguf",)) == Chosen(parts=("a-IQ2_XS.gguf",), projector=None)


def test_the_smallest_projector_that_loses_nothing_is_chosen() -> None:
    assert chosen(None).projector == "mmproj-F16.gguf"
    assert chosen(None, ("a.gguf", "a.mmproj-f32.gguf")).projector == "a.mmproj-f32.gguf"


@pytest.mark.parametrize(
    ("file", "paths", "words"),
    [
        ("Q2_K", FILES, "Model-Q4_K_M.gguf"),
        ("Model-Q2_K.gguf", FILES, "Model-Q4_K_M.gguf"),
        ("Q4", ("a-Q4.gguf", "b-Q4.gguf"), "2 models"),
        (None, ("a-Q5.gguf", "b-Q8.gguf"), "a-Q5.gguf"),
        (None, ("model.safetensors",), "no GGUF"),
        (None, (), "no GGUF"),
        (None, ("a-00001-of-00002.gguf",), "lacks a-00002-of-00002.gguf"),
    ],
)
def test_what_cannot_be_chosen_says_what_there_is(
    file: str | None, paths: tuple[str, ...], words: str
) -> None:
    with pytest.raises(PullFailed) as caught:
        chosen(file, paths)
    assert caught.value.cause is Cause.NOT_FOUND
    assert words in f"{caught.value.detail} {caught.value.remedy}"


def test_a_projector_is_known_by_its_name() -> None:
    assert is_projector("mmproj-F16.gguf")
    assert is_projector("sub/Model.mmproj-Q8_0.gguf")
    assert not is_projector("mmproject.gguf")
    assert not is_projector("mmproj/model.gguf")
