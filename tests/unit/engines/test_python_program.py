import subprocess

import pytest

from orchestrator.engines.python_program import import_path, program
from tests.unit.engines.launched import scrubbed


def test_a_module_of_ours_starts_anywhere_with_a_scrubbed_environment(tmp_path):
    (tmp_path / "orchestrator.py").write_text("raise SystemExit('imported what lay about')")
    done = subprocess.run(
        [*program("orchestrator.stand_in.server"), "--help"],
        cwd=tmp_path,
        env=scrubbed(import_path()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--claims" in done.stdout


@pytest.mark.parametrize("former", ["fake_server", "xllamacpp_server"])
def test_a_former_name_of_a_server_still_starts_it(former):
    done = subprocess.run(
        [*program(f"orchestrator.engines.{former}"), "--help"],
        env=scrubbed(import_path()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--port" in done.stdout
