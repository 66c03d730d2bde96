"""Models that are added and removed by hand."""

import json
from argparse import Namespace

import pytest

from orchestrator.cli.adding import NotAddable, here, on_hub, settings
from orchestrator.cli.main import main
from orchestrator.config.allowed import allowed_files
from orchestrator.web.wire import examples
from tests.stand_in import stand_in
from tests.unit.gguf.gguf_files import F32, LLAMA, write_model

CLIP = {"general.architecture": "clip"}
UNKNOWN = (404, {"code": "unknown_model", "detail": "no"})
REFUSED = {"code": "does_not_fit", "detail": "It needs more.", "remedy": "Choose less."}
INFO = {"general.architecture": "llama", "llama.context_length": 8192}


def words(what, **said):
    given = {"name": None, "context": None, "mmproj": None, "service": None, "anyway": False}
    return Namespace(**{**given, "what": str(what), **said})


def put(path, metadata=LLAMA, tensors=(("t", (64, 100), F32),)):
    return write_model(path, metadata, list(tensors), whole=True)


@pytest.fixture
def daemon(monkeypatch, tmp_path):
    with stand_in() as remembered:
        monkeypatch.setenv("ORCHESTRATOR_URL", remembered.url)
        state = tmp_path / "state"
        state.mkdir()
        itself = examples.ITSELF | {"state_dir": str(state), "services": {"local": "xllamacpp"}}
        there = examples.MODEL | {"service": "local", "vram_mb": 1024, "host_mb": 0}
        remembered.answers |= {
            "GET /admin/daemon": itself,
            "GET /models/a": [UNKNOWN, (200, there)],
            "PUT /models/a": examples.MODEL,
            "DELETE /models/a": (204, b""),
            "POST /models/estimate": {},
            "POST /api/show": {"model_info": INFO},
            "POST /models/plan": examples.PLAN,
        }
        yield remembered


def put_last(daemon):
    return [body for method, _, _, body in daemon.asked if method == "PUT"][-1]


def asked(daemon):
    return [f"{method} {path}" for method, path, _, _ in daemon.asked]


def test_a_file_is_added_as_it_would_be_found(daemon, tmp_path, capsys):
    file = put(tmp_path / "a.gguf")
    assert main(["add", str(file)]) == 0
    assert put_last(daemon) == {
        "file": str(file),
        "context_size": 8192,
        "gpu_layers": 0,
        "embeddings": False,
    }
    assert allowed_files(tmp_path / "state") == (str(file),)
    said = capsys.readouterr().out
    assert "a needs 1.0 GB" in said
    assert "`orchestrator run a`" in said


def test_what_was_said_goes_before_what_would_be_found(daemon, tmp_path):
    file = put(tmp_path / "x.gguf")
    assert main(["add", str(file), "--as", "a", "--context", "512", "--service", "local"]) == 0
    body = put_last(daemon)
    assert (body["context_size"], body["service"]) == (512, "local")


def test_what_does_not_fit_is_taken_out_again_and_what_would_is_said(daemon, tmp_path, capsys):
    file = put(tmp_path / "a.gguf")
    daemon.answers["POST /models/plan"] = examples.PLAN | {
        "refusal": REFUSED,
        "suggestions": [{"context_size": 512}, {"cache_type": "q8_0"}],
    }
    assert main(["add", str(file)]) == 1
    assert asked(daemon)[-1] == "DELETE /models/a"
    assert f"It fits so: orchestrator add {file} --context 512" in capsys.readouterr().out
    daemon.asked.clear()
    assert main(["add", str(file), "--anyway"]) == 0
    assert "DELETE /models/a" not in asked(daemon)


def test_a_model_that_was_there_before_stays_when_the_new_one_is_refused(daemon, tmp_path):
    daemon.answers["GET /models/a"] = examples.MODEL | {"found": False}
    daemon.answers["PUT /models/a"] = (422, {"detail": "no"})
    assert main(["add", str(put(tmp_path / "a.gguf"))]) == 1
    assert "DELETE /models/a" not in asked(daemon)


def lines(*said):
    return b"".join(json.dumps(line).encode() + b"\n" for line in said)


def test_a_model_of_a_hub_is_sized_before_it_is_pulled(daemon, capsys):
    daemon.answers["POST /api/pull"] = lines(
        {"status": "downloading", "total": 10, "completed": 5}, {"status": "success"}
    )
    assert main(["add", "org/x-GGUF:Q8_0", "--as", "a"]) == 0
    order = asked(daemon)
    assert order.index("POST /models/plan") < order.index("POST /api/pull")
    daemon.answers["POST /api/pull"] = lines({"error": "the hub is away"})
    daemon.answers["GET /models/a"] = [UNKNOWN, (200, examples.MODEL)]
    assert main(["add", "org/x-GGUF:Q8_0", "--as", "a"]) == 1
    assert "the hub is away" in capsys.readouterr().err
    assert asked(daemon)[-1] == "DELETE /models/a"


def test_a_removed_model_is_unloaded_first(daemon, capsys):
    resident = examples.MODEL | {"id": "a", "found": False}
    daemon.answers["GET /models/a"] = resident | {"resident": {"model": "a"}}
    daemon.answers["POST /models/unload"] = examples.UNLOADED
    assert main(["remove", "a", "--force"]) == 0
    assert daemon.bodies("/models/unload") == [{"model": "a", "force": True}]
    daemon.asked.clear()
    daemon.answers["GET /models/a"] = resident | {"resident": None}
    assert main(["remove", "a"]) == 0
    assert asked(daemon) == ["GET /models/a", "DELETE /models/a"]
    assert "Its file stays" in capsys.readouterr().out


# --- what is meant ---------------------------------------------------------------------------


def test_any_part_of_a_split_model_is_all_of_it(tmp_path):
    for number in (1, 2):
        split = {"split.no": number - 1, "split.count": 2}
        put(
            tmp_path / f"big-0000{number}-of-00002.gguf",
            LLAMA | split,
            [(f"t{number}", (64, 1), F32)],
        )
    put(tmp_path / "mmproj-big-f16.gguf", CLIP)
    wanted = here(words(tmp_path / "big-00002-of-00002.gguf"))
    assert wanted.name == "big"
    assert wanted.file == str(tmp_path / "big-00001-of-00002.gguf")
    assert wanted.mmproj == str(tmp_path / "mmproj-big-f16.gguf")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "is a folder"),
        ("modle.gguf", "Did you mean"),
        ("half.gguf", "is truncated"),
        ("mmproj.gguf", "is no model"),
        ("notes.txt", "is no model"),
        ("org/x", "There is no file"),
    ],
)
def test_what_is_no_model_is_said_in_words(tmp_path, name, said):
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    put(tmp_path / "model.gguf")
    put(tmp_path / "mmproj.gguf", CLIP)
    write_model(tmp_path / "half.gguf", LLAMA, [("t", (64, 100), F32)])
    with pytest.raises(NotAddable) as refused:
        here(words(tmp_path / name))
    assert said in " ".join(refused.value.args)


def test_a_hub_is_told_from_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert on_hub(words("org/x-GGUF")).name == "x"
    assert on_hub(words("org/x:Q4_K_M", name="mine")).name == "mine"
    assert on_hub(words("qwen3-0.6b")).name == "qwen3-0.6b"
    assert on_hub(words("x.gguf")) is None
    with pytest.raises(NotAddable):
        on_hub(words("org/x:../y"))
    with pytest.raises(NotAddable) as refused:
        here(words("org/x"))
    assert "org/x:Q4_K_M" in " ".join(refused.value.args)


def test_settings_follow_from_what_the_header_says():
    vectors = settings(
        {"general.architecture": "bert", "bert.context_length": 512}, "llama_cpp", None
    )
    assert vectors == {"context_size": 512, "embeddings": True, "batch": 512, "ubatch": 512}
    assert settings({}, None, None)["context_size"] == 4096
