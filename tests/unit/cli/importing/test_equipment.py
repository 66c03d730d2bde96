"""What this machine has."""

from orchestrator.cli.importing.equipment import looked_at
from orchestrator.core.values.vram import DeviceKind


def test_a_machine_has_host_ram_at_least():
    found = looked_at()
    assert any(reading.device.kind is not DeviceKind.GPU for reading in found.devices)
    assert found.server.why


def test_a_llama_server_that_does_not_start_is_none(tmp_path, monkeypatch):
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\nexit 4\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    broken = looked_at().server
    assert not broken.on_path
    assert "ends with exit code 4" in broken.why
    program.write_text("#!/bin/sh\necho version: 9000\n")
    working = looked_at().server
    assert (working.engine, working.on_path) == ("llama_cpp", True)
