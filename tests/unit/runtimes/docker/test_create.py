"""From a launch to the engine's words, without an engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.core.values.vram import DeviceId
from orchestrator.errors import StartFailed
from orchestrator.ports import Launch
from orchestrator.runtimes.docker.create import (
    NAME_LENGTH_MAX,
    ContainerSettings,
    ModelsDir,
    container_body,
    container_name,
    fingerprint,
    labels,
    models_dir,
)

LAUNCH = Launch(
    instance=InstanceId("qwen3.8b-7f3a91"),
    model=ModelName("qwen3:8b"),
    service=ServiceName("llama-cpp"),
    argv=("llama-server", "--host", "{host}", "--port", "{port}", "-m", "/models/q.gguf"),
    env={"LLAMA_ARG_X": "{port}"},
    image="llama-service:cuda",
    mounts=(Path("/models/q.gguf"),),
    devices=(DeviceId("GPU-b"), DeviceId("GPU-a"), DeviceId("host"), DeviceId("fake-0")),
)
SETTINGS = ContainerSettings(
    identity="home", version="0.1.0", models=(models_dir(Path("/models")),)
)


def host(launch: Launch = LAUNCH, **changes: Any) -> Any:
    return container_body(launch, replace(SETTINGS, **changes))["HostConfig"]


def test_argv_is_said_whole_with_host_and_port_filled_in() -> None:
    body = container_body(LAUNCH, SETTINGS)
    assert body["Entrypoint"] == ["llama-server"]
    assert body["Cmd"] == ["--host", "0.0.0.0", "--port", "8080", "-m", "/models/q.gguf"]
    assert "LLAMA_ARG_X=8080" in body["Env"]  # type: ignore[operator]


def test_gpus_are_requested_by_uuid_in_the_order_of_the_placement() -> None:
    assert host()["DeviceRequests"] == [
        {"DeviceIDs": ["GPU-b", "GPU-a"], "Capabilities": [["gpu"]]}
    ]
    assert "CUDA_VISIBLE_DEVICES=GPU-b,GPU-a" in container_body(LAUNCH, SETTINGS)["Env"]  # type: ignore[operator]


def test_gpus_are_named_the_cdi_way_when_configured() -> None:
    assert host(cdi=True)["DeviceRequests"] == [
        {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-b", "nvidia.com/gpu=GPU-a"]}
    ]


def test_without_a_gpu_none_is_requested() -> None:
    on_host = replace(LAUNCH, devices=(DeviceId("host"),))
    assert "DeviceRequests" not in host(on_host)
    assert not any("CUDA" in str(each) for each in container_body(on_host, SETTINGS)["Env"])  # type: ignore[union-attr]


def test_what_the_engine_says_about_cuda_devices_wins() -> None:
    said = replace(LAUNCH, env={"CUDA_VISIBLE_DEVICES": "GPU-a"})
    assert container_body(said, SETTINGS)["Env"] == ["CUDA_VISIBLE_DEVICES=GPU-a"]


def test_the_container_is_locked_down() -> None:
    limits = host(memory_bytes=8 << 30)
    assert limits["CapDrop"] == ["ALL"]
    assert limits["SecurityOpt"] == ["no-new-privileges"]
    assert limits["ReadonlyRootfs"] is True
    assert limits["Init"] is True
    assert limits["PidsLimit"] > 0
    assert limits["Memory"] == limits["MemorySwap"] == 8 << 30
    assert limits["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "2"}
    assert container_body(LAUNCH, SETTINGS)["User"] == "65534:65534"


def test_one_port_is_published_on_loopback_or_none_on_a_shared_network() -> None:
    alone, shared = host(), host(network="stack_default")
    assert alone["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert (shared["NetworkMode"], "PortBindings" in shared) == ("stack_default", False)


def test_a_direct_service_publishes_a_port_of_the_engines_choice_on_all_interfaces() -> None:
    published = {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}
    alone, shared = host(direct="box.lan"), host(direct="box.lan", network="stack_default")
    assert (alone["NetworkMode"], alone["PortBindings"]) == ("bridge", published)
    assert (shared["NetworkMode"], shared["PortBindings"]) == ("stack_default", published)


def test_models_are_mounted_whole_once_and_read_only() -> None:
    several = replace(LAUNCH, mounts=(Path("/models/q.gguf"), Path("/models/hub/m.gguf")))
    assert host(several)["Mounts"] == [
        {
            "Type": "bind",
            "Source": "/models",
            "Target": "/models",
            "ReadOnly": True,
            "BindOptions": {"NonRecursive": True},
        }
    ]


def test_a_volume_is_mounted_by_its_name() -> None:
    volume = ModelsDir(path=Path("/models"), source="hf-cache")
    assert host(models=(volume,))["Mounts"] == [
        {"Type": "volume", "Source": "hf-cache", "Target": "/models", "ReadOnly": True}
    ]


@pytest.mark.parametrize("path", ["/models-evil/q.gguf", "/etc/passwd", "/"])
def test_a_file_outside_the_models_directories_is_refused(path: str) -> None:
    with pytest.raises(StartFailed) as caught:
        host(replace(LAUNCH, mounts=(Path(path),)))
    assert caught.value.failure.reason is FailureReason.MODEL_FILE


def test_a_service_without_an_image_is_refused_with_the_key_to_add() -> None:
    with pytest.raises(StartFailed) as caught:
        host(replace(LAUNCH, image=None))
    assert caught.value.failure.reason is FailureReason.IMAGE_MISSING
    assert "services.llama-cpp" in caught.value.failure.remedy


def test_names_are_host_names_and_later_attempts_differ() -> None:
    assert container_name(LAUNCH, 0) == "vram-qwen3-8b-7f3a91"
    assert container_name(LAUNCH, 1) == "vram-qwen3-8b-7f3a91-2"
    long = replace(LAUNCH, instance=InstanceId("x" * 200))
    assert len(container_name(long, 4)) == NAME_LENGTH_MAX
    assert container_name(long, 4).endswith("-5")


def test_labels_find_the_container_again() -> None:
    found = labels(LAUNCH, SETTINGS)
    assert found["vram-orchestrator.instance"] == "qwen3.8b-7f3a91"
    assert found["vram-orchestrator.model"] == "qwen3:8b"
    assert found["vram-orchestrator.identity"] == "home"
    assert found["vram-orchestrator.config"] == fingerprint(LAUNCH)


def test_the_fingerprint_tells_settings_apart_and_not_instances() -> None:
    assert fingerprint(replace(LAUNCH, instance=InstanceId("other"))) == fingerprint(LAUNCH)
    assert fingerprint(replace(LAUNCH, argv=("x",))) != fingerprint(LAUNCH)
    assert fingerprint(replace(LAUNCH, env={})) != fingerprint(LAUNCH)
