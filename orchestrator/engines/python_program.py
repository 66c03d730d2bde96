"""How to start a module of this package in a process of its own, in any environment."""

import sys
from pathlib import Path

import orchestrator

_ROOT = Path(orchestrator.__file__).resolve().parent.parent


def program(module: str) -> tuple[str, ...]:
    """The interpreter that runs us, told to run one of our modules.

    -P keeps the working directory, whatever lies in it, from being imported.
    """
    return (sys.executable, "-P", "-m", module)


def import_path() -> dict[str, str]:
    """Where the package lies: a scrubbed environment and a foreign directory must not matter."""
    return {"PYTHONPATH": str(_ROOT)}
