import logging

import pytest

from orchestrator.access.scrubbing import Scrubbing, scrubbed, without_folders

SECRET = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"key vo_abcd1234_{SECRET} of n8n", "key vo_abcd1234_… of n8n"),
        (f"Authorization: Bearer {SECRET}", "Authorization: Bearer …"),
        (f"authorization: bearer%20{SECRET}", "authorization: bearer …"),
        (f"Basic {SECRET}==", "Basic …"),
        ("HF_TOKEN=hf_AbCdEfGhIjKlMnOpQrStUvWx", "HF_TOKEN=hf_…"),
        (f"sk-{SECRET}", "sk-…"),
    ],
)
def test_secrets_go_by_their_form(text, left):
    assert scrubbed(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/srv/models/a.gguf cannot be read", "a.gguf cannot be read"),
        ("file: lies outside /srv/models.", "file: lies outside models."),
        ("'/srv/models/a.gguf' (/home/me/b)", "'a.gguf' (b)"),
        ("/home/me/orchestrator.yaml:2: this", "orchestrator.yaml:2: this"),
        ("read=/var/lib/x/y", "read=y"),
        (
            "POST /models/load, then GET /models/a/logs",
            "POST /models/load, then GET /models/a/logs",
        ),
        ("http://127.0.0.1:8000/v1/models and /docs", "http://127.0.0.1:8000/v1/models and /docs"),
        ("ORG/REPO:a.gguf, 3/4 of it, and/or", "ORG/REPO:a.gguf, 3/4 of it, and/or"),
        ("~/models/a.gguf ${HOME}/models/x", "~/models/a.gguf ${HOME}/models/x"),
    ],
)
def test_of_a_path_its_last_name_is_left(text, left):
    assert without_folders(text) == left


@pytest.mark.parametrize(
    "text", ["", "qwen3-vl-30b", "a bearer of bad news", "vo_abc", "basic english"]
)
def test_other_texts_stay(text):
    assert scrubbed(text) == text


def test_a_handler_says_no_secret_whoever_does(caplog):
    caplog.handler.addFilter(filter_ := Scrubbing())
    try:
        logging.getLogger("any").warning("%s: %d", f"vo_abcd1234_{SECRET}", 7)
    finally:
        caplog.handler.removeFilter(filter_)
    assert caplog.messages[-1] == "vo_abcd1234_…: 7"
