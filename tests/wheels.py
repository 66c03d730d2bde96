"""The package as users get it, a wheel, and the wheels of what it needs, by the lock."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "image.lock"
PIP = (sys.executable, "-m", "pip")
BUILD_S = 600.0  # on a machine that has to download all of them first


def pip(*words: object) -> None:
    done = subprocess.run(
        [*PIP, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, f"pip {words}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def locked_wheels() -> Path:
    """Brought once per machine, and again when the lock changes."""
    content = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    cache = Path(os.getenv("XDG_CACHE_HOME", Path.home() / ".cache")) / "vram-orchestrator"
    wheels = cache / f"wheels-{content[:12]}"
    if not wheels.exists():
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=cache, prefix="wheels."))
        pip("wheel", "-q", "-w", draft, "--require-hashes", "-r", LOCK)
        with suppress(OSError):  # another run was faster
            draft.rename(wheels)
        shutil.rmtree(draft, ignore_errors=True)
    return wheels


def sources(context: Path, *more: str) -> Path:
    """A copy of what a build reads, so that it leaves nothing in the checkout."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("orchestrator", *more):
        shutil.copytree(ROOT / folder, context / folder, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, context)
    return context


def build_wheel(context: Path, into: Path) -> Path:
    """The package's own, of these sources."""
    pip("wheel", "-q", "-w", into, "--no-deps", "--no-build-isolation", context)
    (wheel,) = into.glob("vram_orchestrator-*.whl")
    return wheel
