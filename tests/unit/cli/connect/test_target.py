import pytest

from orchestrator.cli.connect.target import (
    MODELS_MAX,
    KeyInvalid,
    ModelUnknown,
    Target,
    checked_key,
    pointed,
)

URL = "http://gpu.lan:8000"


def entry(name, state="unloaded", priority=0, **more):
    return {"id": name, "state": state, "priority": priority, "aliases": [], "tags": []} | more


CATALOGUE = [
    entry("small", priority=1),
    entry("embed", "loaded", 9, tags=["embeddings"]),
    entry("big", priority=5, aliases=["chat"]),
    entry("warm", "loaded"),
]


def test_who_is_loaded_comes_first_then_who_matters_most():
    target = pointed(URL + "/", None, None, CATALOGUE)
    assert target.model == "warm"
    assert target.models == ("warm", "big", "small")
    assert target.openai_url == "http://gpu.lan:8000/v1"


@pytest.mark.parametrize("name", ["small", "chat", "embed", "task:quick_nlp"])
def test_who_is_named_comes_first(name):
    target = pointed(URL, None, name, CATALOGUE)
    assert target.model == name
    assert target.models[0] == name
    assert len(set(target.models)) == len(target.models)


def test_a_name_that_nobody_has_is_told_with_its_neighbours():
    with pytest.raises(ModelUnknown, match=r"'smal'.*Similar: small"):
        pointed(URL, None, "smal", CATALOGUE)


def test_without_a_daemon_only_what_was_named_is_known():
    assert pointed(URL, None, "chat", None).models == ("chat",)
    nothing = pointed(URL, None, None, None)
    assert nothing.model is None
    assert nothing.listed == ("MODEL",)
    assert pointed(URL, None, None, []).model is None


def test_a_list_has_a_bound():
    many = [entry(f"m{number}") for number in range(300)]
    assert len(pointed(URL, None, None, many).listed) == MODELS_MAX


def test_a_key_is_what_a_header_can_carry():
    assert checked_key(None) is None
    assert checked_key("") is None
    assert checked_key("sk-1") == "sk-1"
    for key in ("a b", "a\nb", "schlüssel"):
        with pytest.raises(KeyInvalid):
            checked_key(key)


def test_no_key_is_shown_as_one_that_says_so():
    assert Target(url=URL, key=None, model=None).shown_key == "none"
    assert Target(url=URL, key="k", model=None).shown_key == "k"


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8", True),
        ("http://localhost", True),
        ("http://[::1]", True),
        (URL, False),
    ],
)
def test_this_machine_is_told_by_its_address(url, here):
    assert Target(url=url, key=None, model=None).is_on_this_machine is here
