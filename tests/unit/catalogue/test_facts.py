from dataclasses import replace

import pytest

from orchestrator.catalogue.facts import FactSheets, facts_of, in_words
from orchestrator.catalogue.sizing import Files
from orchestrator.core.values.specs import Serving
from orchestrator.gguf.reader import read_header
from tests.unit.gguf.gguf_files import F32, Q4_K, write_model
from tests.unit.gguf.shapes import header
from tests.unit.web.samples import spec

CHATML = "{% for m in messages %}{{ m.content }}{% endfor %}"
TOOLS = CHATML + "{% if tools %}{{ tools }}{% endif %}"
THINKS = TOOLS + "{% if enable_thinking %}<think>{% endif %}"
MODEL = spec("a", file="/models/a.gguf")


def told(tmp_path, model=MODEL, projector=None, **metadata):
    everything = {
        "general.architecture": "llama",
        "general.file_type": 15,
        "llama.block_count": 1,
        "llama.context_length": 8192,
        **metadata,
    }
    path = tmp_path / "m.gguf"
    write_model(path, everything, [("a.weight", (256, 4), Q4_K), ("b.weight", (8,), F32)])
    return facts_of(model, Files(model=read_header(path), projector=projector))


def test_a_file_says_what_it_is(tmp_path):
    facts = told(tmp_path)
    assert facts.details == {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "1K",
        "quantization_level": "Q4_K_M",
    }
    assert facts.size_bytes == (tmp_path / "m.gguf").stat().st_size
    assert facts.modified_s == pytest.approx((tmp_path / "m.gguf").stat().st_mtime)
    assert len(facts.digest) == 64


@pytest.mark.parametrize(
    ("template", "capabilities"),
    [
        (CHATML, ("completion",)),
        (TOOLS, ("completion", "tools")),
        (THINKS, ("completion", "tools", "thinking")),
        (THINKS + " " * 20_000, ("completion", "tools", "thinking")),
        ("", ("completion",)),
    ],
)
def test_a_template_tells_what_a_chat_can_carry(tmp_path, template, capabilities):
    facts = told(tmp_path, **{"tokenizer.chat_template": template})
    assert facts.capabilities == capabilities
    assert facts.template == template
    assert facts.can("tools") is ("tools" in capabilities)


def test_without_jinja_no_tools_are_understood(tmp_path):
    model = replace(MODEL, serving=Serving(jinja=False))
    facts = told(tmp_path, model, **{"tokenizer.chat_template": TOOLS})
    assert facts.capabilities == ("completion",)


def test_a_projector_sees_or_hears(tmp_path):
    projector = read_header(
        write_model(
            tmp_path / "p.gguf", {"general.architecture": "clip", "clip.has_audio_encoder": True}
        )
    )
    assert told(tmp_path, projector=projector).capabilities == ("completion", "vision", "audio")


def test_an_embedding_server_answers_nothing_else(tmp_path):
    model = replace(MODEL, serving=Serving(embeddings=True))
    assert told(tmp_path, model).capabilities == ("embedding",)
    assert facts_of(model, None).capabilities == ("embedding",)


def test_a_model_that_fills_in(tmp_path):
    assert "insert" in told(tmp_path, **{"tokenizer.ggml.fim_pre_token_id": 3}).capabilities


def test_the_context_is_what_a_conversation_is_served_with(tmp_path):
    facts = told(tmp_path)
    assert facts.info["llama.context_length"] == 4096
    assert facts.trained_context == 8192
    wide = replace(MODEL, serving=Serving(context_size=65536))
    assert told(tmp_path, wide).info["llama.context_length"] == 8192
    elsewhere = replace(MODEL, settings_ours=False)
    assert told(tmp_path, elsewhere).info["llama.context_length"] == 8192


def test_the_header_is_shown_without_what_nobody_reads(tmp_path):
    facts = told(
        tmp_path,
        **{
            "tokenizer.chat_template": CHATML,
            "tokenizer.ggml.tokens": ["a"] * 10,
            "llama.few": [1, 2],
            "llama.many": list(range(9)),
            "llama.odd": float("nan"),
            "general.license": "mit",
        },
    )
    assert facts.info["general.architecture"] == "llama"
    assert facts.info["general.basename"] == "a"
    assert facts.info["llama.few"] == [1, 2]
    assert facts.info["general.license"] == "mit"
    gone = ("tokenizer.chat_template", "tokenizer.ggml.tokens", "llama.many", "llama.odd")
    assert not any(key in facts.info for key in gone)


def test_where_nothing_is_known_nothing_is_denied():
    facts = facts_of(spec("a"), None)
    assert facts.details["family"] == ""
    assert facts.can("vision")
    assert len(facts.digest) == 64
    assert facts.digest != facts_of(spec("b"), None).digest


def test_a_file_of_a_hubs_cache_is_named_by_its_content(tmp_path):
    digest = "ab" * 32
    blob = write_model(tmp_path / digest, {"general.architecture": "llama", "llama.block_count": 1})
    link = tmp_path / "m.gguf"
    link.symlink_to(blob)
    assert facts_of(MODEL, Files(model=read_header(link))).digest == digest


def test_a_real_header():
    facts = facts_of(MODEL, Files(model=header("llama31-8b")))
    assert (facts.family, facts.parameter_size) == ("llama", "8.0B")
    assert facts.trained_context == 131072


@pytest.mark.parametrize(
    ("count", "words"),
    [(999, "999"), (134_515_008, "135M"), (8_030_261_248, "8.0B"), (235_000_000_000, "235B")],
)
def test_how_large_it_is_in_words(count, words):
    assert in_words(count) == words


def test_they_are_told_once_until_the_model_or_its_file_changes():
    read = []
    files = {"a": Files(model=header("llama31-8b"))}

    def of(model):
        read.append(model.name)
        return files.get(model.name)

    facts, models = FactSheets(of), {"a": MODEL, "b": spec("b")}
    first = facts.of_all(models)
    assert facts.of_all(models)["a"] is first["a"]
    assert read == ["a", "b"] * 2, "the files are looked at each time"
    files["a"] = Files(model=header("qwen3-30b-a3b"))
    assert facts.of(MODEL) is not first["a"]
    assert facts.of(replace(MODEL, priority=9)) is not first["a"]
    assert list(facts.of_all({"b": models["b"]})) == ["b"]
