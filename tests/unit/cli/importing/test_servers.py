"""Which llama.cpp this machine has."""

from orchestrator.cli.importing.servers import local_server


def test_a_llama_server_on_path_goes_before_a_wheel(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    wheel = local_server()
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = local_server()
    assert (found.keys["engine"], str(program) in found.why) == ("llama_cpp", True)
    assert wheel != found
