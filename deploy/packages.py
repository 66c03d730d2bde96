"""The packages that the locks name: as a bill of materials, and held against known holes.

    python deploy/packages.py sbom > sbom.json        CycloneDX, of what the images and wheels need
    python deploy/packages.py holes DIRECTORY         advisories in OSV's form, as in a checkout of
                                                      pypa/advisory-database; 1 where one applies

Neither asks the network.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "requirements"
SHIPPED = ("image", "model", "cuda")  # the others are for tests, documents and fuzzing
_ENTRY = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?P<rest>(?:.*\\\n)(?:    --hash=.*\n)+)",
    re.MULTILINE,
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    name: str
    version: str
    sums: tuple[str, ...]  # SHA-256 of its files


def packages(locks: Iterable[str]) -> list[Package]:
    """Of those locks, each once, by name."""
    found = set()
    for lock in locks:
        for entry in _ENTRY.finditer((LOCKS / f"{lock}.lock").read_text()):
            name = canonicalize_name(entry["name"])
            found.add(Package(name, entry["version"], tuple(_HASH.findall(entry["rest"]))))
    return sorted(found)


# --- a bill of materials -----------------------------------------------------------------------


def bill(named: Sequence[Package]) -> dict[str, Any]:
    """The same for the same locks: no serial number, no time."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    itself = {
        "type": "application",
        "bom-ref": "orchestrator",
        "name": project["name"],
        "version": project["version"],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": itself},
        "components": [_component(package) for package in named],
    }


def _component(package: Package) -> dict[str, Any]:
    """Files have sums, and a package has several: they stand at its files."""
    url = f"pkg:pypi/{package.name}@{package.version}"
    return {
        "type": "library",
        "bom-ref": url,
        "name": package.name,
        "version": package.version,
        "purl": url,
        "properties": [{"name": "sha256 of a file", "value": digest} for digest in package.sums],
    }


# --- known holes -------------------------------------------------------------------------------


def holes(named: Iterable[Package], advisories: Path) -> Iterator[str]:
    """A line for each advisory that a package has, withdrawn ones left out."""
    by_name: dict[str, list[Package]] = {}
    for package in named:
        by_name.setdefault(package.name, []).append(package)
    for path in sorted(advisories.rglob("*")):
        there = by_name.get(canonicalize_name(path.parent.name), [])
        if not there or path.suffix not in (".yaml", ".json"):
            continue
        advisory = yaml.safe_load(path.read_text())  # JSON is YAML
        names = ", ".join((advisory["id"], *advisory.get("aliases", ())))
        if "withdrawn" not in advisory:
            for package in there:
                if _applies(advisory, package):
                    yield f"{package.name} {package.version}: {names}"


def _applies(advisory: Mapping[str, Any], package: Package) -> bool:
    for affected in advisory.get("affected", ()):
        if canonicalize_name(affected["package"]["name"]) != package.name:
            continue
        if package.version in affected.get("versions", ()):
            return True
        ranges = (one for one in affected.get("ranges", ()) if one["type"] == "ECOSYSTEM")
        if any(_in_range(one["events"], Version(package.version)) for one in ranges):
            return True
    return False


def _in_range(events: Iterable[Mapping[str, str]], version: Version) -> bool:
    """Whether a hole begins last, of all that begins and ends up to this version."""
    inside = False
    told = [(_version(text), kind) for event in events for kind, text in event.items()]
    for at, kind in sorted(told, key=lambda one: one[0]):
        if kind == "introduced" and version >= at:
            inside = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            inside = False
    return inside


def _version(text: str) -> Version:
    """Of what is none, the lowest: the hole is rather told than missed."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0")


def main(words: Sequence[str]) -> int:
    match words:
        case ["sbom"]:
            print(json.dumps(bill(packages(SHIPPED)), indent=1))
            return 0
        case ["holes", directory] if Path(directory).is_dir():
            named = packages(path.stem for path in LOCKS.glob("*.lock"))
            found = list(holes(named, Path(directory)))
            print(
                "\n".join(found) or f"No advisory of {directory} applies to {len(named)} packages."
            )
            return 1 if found else 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
