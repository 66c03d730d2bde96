"""The engine's refusals, in its own words, and the reasons they are given."""

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.ports import Launch
from orchestrator.runtimes.docker.answers import EngineRefused
from orchestrator.runtimes.docker.failures import refused_create, refused_start

LAUNCH = Launch(
    instance=InstanceId("qwen-1"),
    model=ModelName("qwen"),
    service=ServiceName("llama"),
    argv=("llama-server",),
    image="llama-service:cuda",
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', "runtime_unavailable"),
        ("nvidia-container-cli: device error: GPU-7: unknown device", "runtime_unavailable"),
        ("failed to set up container: port is already allocated", "port"),
        ("listen tcp4 127.0.0.1:80: bind: address already in use", "port"),
        ("network stack_default not found", "runtime_unavailable"),
        ('exec: "llama-server": executable file not found in $PATH', "binary_missing"),
        ("something that nobody has seen before", "runtime_unavailable"),
    ],
)
def test_a_refused_start_has_a_reason_and_a_remedy(text: str, reason: str) -> None:
    failure = refused_start(LAUNCH, EngineRefused(500, text))
    assert failure.reason == reason
    assert text in failure.detail
    assert failure.remedy


def test_a_missing_image_is_told_from_other_things_that_are_missing() -> None:
    image = refused_create(LAUNCH, EngineRefused(404, "No such image: llama-service:cuda"))
    network = refused_create(LAUNCH, EngineRefused(404, "network x not found"))
    assert image.reason is FailureReason.IMAGE_MISSING
    assert "docker build -f llama_service/Dockerfile -t llama-service:cuda ." in image.remedy
    assert network.reason is FailureReason.RUNTIME_UNAVAILABLE


def test_a_models_directory_that_the_host_lacks_is_a_matter_of_files() -> None:
    text = "invalid mount config for type bind: bind source path does not exist: /models"
    assert refused_create(LAUNCH, EngineRefused(400, text)).reason is FailureReason.MODEL_FILE
