from pathlib import Path

from orchestrator.hub.access import ENDPOINT, access_from


def test_the_cache_is_where_other_programs_look() -> None:
    assert access_from({"HF_HOME": "/cache"}).home == Path("/cache")
    assert access_from({"XDG_CACHE_HOME": "/x", "HOME": "/h"}).home == Path("/x/huggingface")
    assert access_from({"HF_HOME": "", "HOME": "/h"}).home == Path("/h/.cache/huggingface")


def test_the_hub_is_the_usual_one_unless_another_is_named() -> None:
    assert access_from({"HF_ENDPOINT": ""}).endpoint == ENDPOINT
    assert access_from({"HF_ENDPOINT": "http://127.0.0.1:9"}).endpoint == "http://127.0.0.1:9"


def test_the_token_is_never_shown() -> None:
    access = access_from({"HF_TOKEN": " hf_secret\n"})
    assert access.token == "hf_secret"
    assert "hf_secret" not in repr(access)
