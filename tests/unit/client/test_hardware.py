import pytest

from orchestrator.client.hardware import Hardware, hardware_found


@pytest.fixture
def machine(tmp_path):
    """A root without anything, and a PATH without programs."""

    def found(*files: str, text: str = "", tool: bool = False) -> Hardware:
        for name in files:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        if tool:
            (programs / "nvidia-smi").write_text("#!/bin/sh\n")
            (programs / "nvidia-smi").chmod(0o755)
        return hardware_found(tmp_path, str(programs))

    return found


def test_nothing_is_nothing(machine):
    assert machine() == Hardware(is_jetson=False, has_gpu=False)
    assert machine("dev/nvidiactl", "dev/nvidia-uvm") == Hardware(is_jetson=False, has_gpu=False)


@pytest.mark.parametrize("file", ["dev/nvidia0", "dev/nvidia3", "dev/kfd"])
def test_a_device_is_a_gpu(machine, file):
    assert machine(file) == Hardware(is_jetson=False, has_gpu=True)


def test_nvidia_s_tool_is_a_sign_where_there_is_no_device_file(machine):
    assert machine(tool=True).has_gpu


def test_a_jetson_is_told_by_its_release_or_its_board(machine):
    assert machine("etc/nv_tegra_release") == Hardware(is_jetson=True, has_gpu=True)


def test_a_jetson_is_told_by_its_board(machine):
    board = "NVIDIA Jetson AGX Orin Developer Kit\0"
    assert machine("proc/device-tree/model", text=board).is_jetson


def test_another_board_is_none(machine):
    assert not machine("proc/device-tree/model", text="Raspberry Pi 5\0").has_gpu
