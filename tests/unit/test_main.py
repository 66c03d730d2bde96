import subprocess
import sys
from pathlib import Path


def test_the_package_runs_as_a_module():
    ran = subprocess.run(
        [sys.executable, "-m", "orchestrator", "version"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("orchestrator ")
