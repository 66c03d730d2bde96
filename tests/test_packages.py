"""The packages that the locks name: all of them by their hashes, told, and held against holes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy import packages

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "deploy" / "packages.py"
NAMED = packages.Package("aiohttp", "3.14.5", ())


@pytest.mark.parametrize("lock", sorted(path.stem for path in packages.LOCKS.glob("*.lock")))
def test_lock_has_hashes(lock):
    text = (packages.LOCKS / f"{lock}.lock").read_text()
    pinned = re.findall(r"^([^\s#-][^=\s]*)==", text, re.MULTILINE)
    names = [line.split()[0] for line in text.splitlines() if line[:1] not in ("#", " ", "")]
    assert len(pinned) == len(names), "what is not pinned is not known"
    found = packages.packages([lock])
    assert len(found) == len({*names})
    assert all(package.sums for package in found)


def test_every_base_of_an_image_can_be_given_by_its_digest():
    """Which digest is today's only a registry knows: see SECURITY.md."""
    for file in ROOT.glob("*/Dockerfile*"):
        if file.suffix == ".dockerignore":
            continue
        text = file.read_text()
        given = dict(re.findall(r"^ARG (\w+)=(\S+)$", text, re.MULTILINE))
        stages = set(re.findall(r"^FROM .* AS (\w+)$", text, re.MULTILINE))
        for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
            if base not in stages:
                name = re.fullmatch(r"\$\{(\w+)\}", base)
                assert name, f"{file}: {base}"
                tag = given[name[1]]
                assert re.search(r"(:|@sha256:).*\d|:[a-z-]+$|^scratch$", tag), f"{file}: {tag}"
                assert not tag.endswith(":latest")


@pytest.mark.parametrize("file", ["compose.yaml", "compose.jetson.yaml"])
def test_images_of_others_are_named_by_their_version_and_can_be_given_by_digest(file):
    compose = yaml.safe_load((ROOT / file).read_text())
    for name, service in compose["services"].items():
        variable = re.fullmatch(r"\$\{\w+_IMAGE:-(.+)\}", service.get("image", ""))
        assert variable or "image" not in service, name
        if variable and "/" in variable[1]:
            assert re.search(r":v?\d+\.\d+\.\d+$", variable[1]), f"{name}: {variable[1]}"


def test_the_bill_names_what_is_shipped():
    said = subprocess.run([sys.executable, TOOL, "sbom"], capture_output=True, check=True)
    bill = json.loads(said.stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    urls = [component["purl"] for component in bill["components"]]
    assert len(urls) == len({*urls})
    assert any(url.startswith("pkg:pypi/fastapi@") for url in urls)
    assert not any(url.startswith("pkg:pypi/pytest@") for url in urls)


def advisory(directory, package="aiohttp", **changes):
    text = {
        "id": "PYSEC-1",
        "aliases": ["CVE-1"],
        "affected": [{"package": {"name": package}, **changes.pop("affected", {})}],
    }
    folder = directory / "vulns" / package
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "PYSEC-1.yaml").write_text(yaml.safe_dump(text | changes))


def in_range(*events):
    return {"ranges": [{"type": "ECOSYSTEM", "events": [dict([event]) for event in events]}]}


@pytest.mark.parametrize(
    ("affected", "applies"),
    [
        ({"versions": ["3.14.4", "3.14.5"]}, True),
        ({"versions": ["3.14.4"]}, False),
        (in_range(("introduced", "0")), True),
        (in_range(("introduced", "0"), ("fixed", "3.14.5")), False),
        (in_range(("introduced", "0"), ("fixed", "3.14.6")), True),
        (in_range(("fixed", "3.14.6"), ("introduced", "3.14.0")), True),
        (in_range(("introduced", "0"), ("last_affected", "3.14.5")), True),
        (in_range(("introduced", "0"), ("last_affected", "3.14.4")), False),
        (in_range(("introduced", "3.15")), False),
        (in_range(("introduced", "0"), ("fixed", "3.9"), ("introduced", "3.14")), True),
    ],
)
def test_an_advisory_applies_to_the_versions_that_it_names(tmp_path, affected, applies):
    advisory(tmp_path, affected=affected)
    found = list(packages.holes([NAMED], tmp_path))
    assert found == (["aiohttp 3.14.5: PYSEC-1, CVE-1"] if applies else [])


def test_withdrawn_ones_and_those_of_others_do_not(tmp_path):
    advisory(tmp_path, affected=in_range(("introduced", "0")), withdrawn="2026-01-01")
    advisory(tmp_path, "other", affected=in_range(("introduced", "0")))
    assert list(packages.holes([NAMED], tmp_path)) == []


def test_the_command_fails_where_one_applies(tmp_path, capsys):
    assert packages.main(["holes", str(tmp_path)]) == 0
    ((name, *_),) = [packages.packages(["test"])[0:1]]
    advisory(tmp_path, name.name, affected={"versions": [name.version]})
    assert packages.main(["holes", str(tmp_path)]) == 1
    assert "PYSEC-1" in capsys.readouterr().out
    assert packages.main(["holes", str(tmp_path / "none")]) == 2
