"""The engine of `examples/engine`, as `pip install` makes it."""

import shutil
from pathlib import Path

from tests.scenarios.daemon import ROOT
from tests.wheels import pip

EXAMPLE = ROOT / "examples" / "engine"


def engine_packages(work: Path) -> Path:
    """A folder to import from, with the example in it."""
    source = shutil.copytree(EXAMPLE, work / "source")
    site = work / "site"
    pip("install", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-t", site, source)
    return site
