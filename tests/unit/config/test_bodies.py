"""Models that are sent through the API, one body each."""

from dataclasses import replace

import pytest

from orchestrator.config.bodies import kept_model, parse_model
from orchestrator.config.loading import load_config
from orchestrator.config.models import declared_only
from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.vram import MiB
from orchestrator.errors import ConfigInvalid
from tests.unit.config.small import SMALL


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "orchestrator.yaml"
    path.write_text(SMALL)
    return load_config(path, environ={})


def refused(config, name, body, **keys):
    with pytest.raises(ConfigInvalid) as caught:
        parse_model(config, name, body, **keys)
    return list(caught.value.mistakes)


def test_a_model_sent_at_run_time_is_a_spec(config):
    spec = parse_model(config, "new", {"service": "rehearsal", "vram_mb": "512", "aliases": ["n"]})
    assert (spec.name, spec.footprint.device_bytes) == ("new", 512 * MiB)


def test_a_model_sent_at_run_time_may_replace_itself(config):
    assert parse_model(config, "chat", {"service": "rehearsal", "vram_mb": 1, "aliases": ["talk"]})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"file": None}, ["file: is required: engine xllamacpp loads a GGUF file"]),
        ({"image": "evil"}, None),
        ({"environment": {"LD_PRELOAD": "x"}}, None),
        ({"binary": "/bin/sh"}, None),
        ({"mounts": ["/:/host"]}, None),
        ({"file": "/etc/passwd"}, None),
        ({"file": "../../etc/passwd"}, None),
        ({"file": "package:yaml/__init__.py"}, None),
        ({"url": "http://169.254.169.254/"}, None),
        ({"vram_mb": True}, ["vram_mb: must be a whole number, not true"]),
        ({"vram_mb": "1e400"}, None),
        ({"vram_mb": "9" * 5000}, None),
        ({"vram_mb": 1 << 60}, None),
        ({"aliases": ["talk"]}, ["aliases[0]: talk is already an alias of model chat"]),
        ({"service": "nope"}, None),
        ({"preload": "yes"}, None),
        ({"file": "a\0b"}, None),
        ({"lora": [[[[]]]]}, None),
    ],
)
def test_what_a_caller_may_not_choose(config, body, said):
    whole = {"service": "files", "file": "a.gguf", "vram_mb": 1, **body}
    lines = refused(config, "new", whole)
    assert len(lines) == 1
    assert said is None or lines == said
    assert len(lines[0]) < 1500


@pytest.mark.parametrize("name", ["a/b", "..", "a\0", "x" * 10_000, "talk", "status"])
def test_a_name_that_cannot_be(config, name):
    [line] = refused(config, name, {"service": "rehearsal", "vram_mb": 1})
    assert line.startswith("name: ")


def test_a_model_is_held_against_the_catalogue_of_the_moment(config):
    taken = dict(config.catalogue)
    del taken["chat"]
    body = {"service": "rehearsal", "vram_mb": 1, "aliases": ["talk"]}
    assert parse_model(config, "new", body, taken=taken).aliases == ("talk",)


def test_a_model_sent_at_run_time_may_be_estimated(config):
    spec = parse_model(
        config,
        "new",
        {"service": "files", "file": "a.gguf"},
        estimate=lambda draft: Footprint(device_bytes=len(draft.file)),
    )
    assert spec.footprint.device_bytes == len(spec.file)


def kept(config, name, body):
    kept_in = config.state_dir / "models.json"
    taken, estimate = config.catalogue, declared_only
    return kept_model(config, name, body, kept_in=kept_in, taken=taken, estimate=estimate)


def test_a_model_that_was_kept_is_the_one_that_was_sent(config):
    body = {"service": "rehearsal", "vram_mb": 512}
    assert kept(config, "new", body) == parse_model(config, "new", body)


def test_a_model_that_was_kept_and_is_wrong_now_stands_as_failed(config):
    spec = kept(config, "new", {"service": "files", "file": "../a.gguf", "vram_mb": 1})
    assert spec.failed.reason is FailureReason.MODEL_FILE
    assert (
        spec.failed.detail == f"{config.state_dir}/models.json: new: file: must not contain `..`."
    )
    spec = kept(config, "new", {"service": "gone", "vram_mb": 1})
    assert (spec.failed.reason, spec.service) == (FailureReason.CONFIGURATION, "gone")


def test_a_service_may_be_left_out(config):
    assert parse_model(config, "new", {"file": "a.gguf", "vram_mb": 1}).service == "files"
    [line] = refused(replace(config, home=None), "new", {"vram_mb": 1})
    assert line.startswith("service: is required: no service here runs what names none")
