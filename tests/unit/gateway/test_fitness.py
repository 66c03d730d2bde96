"""What a model cannot do is said before it is loaded; what is not certain is left to its server."""

from dataclasses import replace

import pytest

from orchestrator.gateway.asked import read
from orchestrator.gateway.fitness import BYTES_A_TOKEN_MAX, objection
from orchestrator.gateway.paths import find
from tests.factories import spec

TEXT = replace(spec("text", gib=1), file="/m/text.gguf")
SEES = replace(TEXT, mmproj="/m/mmproj.gguf")
EMBEDS = replace(TEXT, serving=replace(TEXT.serving, embeddings=True))
HELLO = b'{"messages":[{"role":"user","content":"hello"}]}'
PICTURE = (
    b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,"}}]}]}'
)


def ask(path, body):
    found = find("POST", path)
    return read(found, "POST", [(b"content-type", b"application/json")], b"", body)


@pytest.mark.parametrize(
    ("model", "path", "body", "said"),
    [
        (TEXT, "/v1/chat/completions", HELLO, None),
        (TEXT, "/v1/chat/completions", PICTURE, "sees no pictures"),
        (SEES, "/v1/chat/completions", PICTURE, None),
        (TEXT, "/v1/embeddings", b'{"input":"x"}', "makes no embeddings"),
        (EMBEDS, "/v1/embeddings", b'{"input":"x"}', None),
        (EMBEDS, "/v1/messages", HELLO, "only makes embeddings"),
        (replace(TEXT, settings_ours=False), "/v1/chat/completions", PICTURE, None),
        (replace(TEXT, file=None), "/v1/embeddings", b"{}", None),
        (replace(TEXT, hub="ORG/REPO:x.gguf"), "/v1/chat/completions", PICTURE, None),
        (TEXT, "/tokenize", PICTURE, None),
    ],
)
def test_only_what_is_certain_is_refused(model, path, body, said):
    wrong = objection(model, ask(path, body), body)
    assert (wrong is None) == (said is None)
    if wrong is not None:
        assert wrong.code == "cannot"
        assert said in wrong.detail
        assert wrong.remedy


def test_a_text_far_beyond_the_context_is_refused():
    fits = b'{"prompt":"%s"}' % (b"x" * (TEXT.serving.context_size * BYTES_A_TOKEN_MAX - 100))
    assert objection(TEXT, ask("/v1/completions", fits), fits) is None
    more = fits + b" " * 200
    assert "context of" in objection(TEXT, ask("/v1/completions", more), more).detail
