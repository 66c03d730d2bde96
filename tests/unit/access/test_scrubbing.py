import logging

import pytest

from orchestrator.access.scrubbing import Scrubbing, scrubbed

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
