"""Repacks what the page at `/` takes from others, from npm: `python -m tests.tools.vendor`.

What is wanted stands in the manifest beside the files: package, version, the file in it. A new
version is written there first; the hashes are written by this. Needs npm.
"""

import hashlib
import json
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "orchestrator" / "web" / "dashboard" / "vendor"
MANIFEST = FOLDER / "manifest.json"
MAP = b"//# sourceMappingURL="  # leads to a file that is not brought


def manifest() -> Mapping[str, Mapping[str, str]]:
    """What was taken, by the name that it has here."""
    read: dict[str, dict[str, str]] = json.loads(MANIFEST.read_text())
    return read


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def packed(package: str, version: str) -> Mapping[str, bytes]:
    """The files of a package, by their paths in it."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", directory, f"{package}@{version}"],
            check=True,
            capture_output=True,
            text=True,
        )
        with tarfile.open(Path(directory) / done.stdout.split()[-1]) as archive:
            files: dict[str, bytes] = {}
            for member in archive.getmembers():
                if (opened := archive.extractfile(member)) is not None:
                    files[member.name.removeprefix("package/")] = opened.read()
            return files


def without_map(script: bytes) -> bytes:
    lines = [line for line in script.splitlines(keepends=True) if not line.startswith(MAP)]
    return b"".join(lines)


def main() -> None:
    told: dict[str, dict[str, Any]] = {}
    for name, of in manifest().items():
        files = packed(of["package"], of["version"])
        body = without_map(files[of["file"]])
        (FOLDER / name).write_bytes(body)
        (FOLDER / f"LICENSE.{of['package']}.txt").write_bytes(files["LICENSE"])
        told[name] = {**of, "licence": json.loads(files["package.json"])["license"]}
        told[name]["sha256"] = digest(body)
    MANIFEST.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
