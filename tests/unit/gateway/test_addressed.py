"""No server of ours is made to fetch what a request names by an address."""

import json
from dataclasses import replace

import pytest

from orchestrator.gateway.addressed import fetches, names_address, objection
from orchestrator.gateway.members import DECODED_BYTES_MAX, PARTS_MAX
from tests.factories import spec

TEXT = replace(spec("text", gib=1), file="/m/text.gguf")
SEES = replace(TEXT, mmproj="/m/mmproj.gguf")
URL = "http://169.254.169.254/latest"


def chat(part, padding=""):
    said = [{"role": "user", "content": [{"type": "text", "text": padding}, part]}]
    return json.dumps({"model": "a", "messages": said}).encode()


ADDRESSED = [
    {"type": "image_url", "image_url": {"url": URL}},
    {"type": "image_url", "image_url": {"url": "https://evil.example/x.png"}},
    {"type": "input_image", "image_url": URL},
    {"type": "image", "source": {"type": "url", "url": URL}},
    {"type": "input_audio", "input_audio": {"data": URL}},
    {"type": "input_audio", "input_audio": {"url": URL}},
    {"type": "video_url", "video_url": {"url": URL}},
    {"type": "tool_result", "content": [{"type": "image", "source": {"url": URL}}]},
]


@pytest.mark.parametrize("part", ADDRESSED)
@pytest.mark.parametrize("padding", ["", "p" * DECODED_BYTES_MAX])
def test_an_address_is_found(part, padding):
    assert names_address(chat(part, padding))


@pytest.mark.parametrize(
    "body",
    [
        chat(ADDRESSED[0]).replace(b"http", b"\\u0068ttp"),
        chat(ADDRESSED[0]).replace(b"image_url", b"image\\u005furl"),
        chat(ADDRESSED[0]).replace(b"//", b"\\/\\/"),
        b"\xef\xbb\xbf" + chat(ADDRESSED[0]),
        b'{"x": "http", "y": }',
        b'{"x": ["http"' + b",[]" * PARTS_MAX + b"]}",
    ],
)
def test_what_hides_one_or_cannot_be_read_is_taken_for_one(body):
    assert names_address(body)


@pytest.mark.parametrize(
    "body",
    [
        chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,aHR0cA=="}}),
        chat({"type": "text", "text": f"look at {URL}"}),
        chat({"type": "tool_use", "input": {"source": {"url": URL}}}),
        b'{"$schema": "http://json-schema.org/schema#"}',
        b"--x\r\nhttp://in.a/form",
        b'{"content": "\\u00e9"}',
        b"",
    ],
)
def test_what_is_no_medium_is_none(body):
    assert not names_address(body)


def test_only_servers_of_ours_that_see_would_fetch():
    assert fetches(SEES)
    assert fetches(replace(TEXT, hub="ORG/REPO:x.gguf"))
    assert not fetches(TEXT)
    assert not fetches(replace(SEES, settings_ours=False))
    assert objection(SEES).code == "cannot"
