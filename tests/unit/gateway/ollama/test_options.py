import pytest

from orchestrator.gateway.ollama.options import understood
from orchestrator.web.wire.error_answers import Answered

# What n8n's node sends when every option is added.
EVERY_ONE = {
    "temperature": 0.8,
    "top_p": 0.7,
    "top_k": 40,
    "num_predict": 1024,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "repeat_penalty": 1.1,
    "num_ctx": 4096,
    "repeat_last_n": 64,
    "min_p": 0,
    "seed": 0,
    "stop": ["END"],
    "keep_alive": "5m",
    "low_vram": False,
    "main_gpu": 0,
    "num_gpu": -1,
    "format": "json",
}


def test_every_option_has_its_place():
    settings = understood(EVERY_ONE)
    assert settings.parameters == {
        "temperature": 0.8,
        "top_p": 0.7,
        "top_k": 40,
        "max_tokens": 1024,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "repeat_penalty": 1.1,
        "repeat_last_n": 64,
        "min_p": 0,
        "seed": 0,
        "stop": ["END"],
    }
    assert settings.context_size == 4096
    assert settings.ignored == ("low_vram", "main_gpu", "num_gpu")


@pytest.mark.parametrize("number", [-1, -2, 0])
def test_an_answer_without_a_bound(number):
    assert understood({"num_predict": number}).parameters == {}


def test_what_is_empty_says_nothing():
    assert understood(None).parameters == {}
    assert understood({"stop": "", "seed": None, "num_ctx": 0}).parameters == {}
    assert understood({"stop": "END", "num_keep": 4}).parameters == {"stop": ["END"], "n_keep": 4}
    assert understood({"top_k": 40.0}).parameters == {"top_k": 40}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": "hot"}, "options.temperature should be a number."),
        ({"seed": 1.5}, "options.seed should be a whole number."),
        ({"top_k": True}, "options.top_k should be a number."),
        ({"stop": [1]}, "options.stop should be a text or a list of texts."),
        ({"num_ctx": 1 << 30}, "options.num_ctx should be at most"),
        ({"seed": float("inf")}, "options.seed should be a whole number."),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(options, says):
    with pytest.raises(Answered, match=says.replace(".", r"\.")):
        understood(options)
