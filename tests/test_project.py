"""What surrounds the code agrees with it: locks, hooks, targets, the changelog."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
HELP = re.findall(r'^\t@echo "(make .*)"$', MAKEFILE, re.MULTILINE)
PARTS = {"quick", "thorough", "waiting"}  # of `make check` and `make test`
CORE = "dependencies"
# What each lock was made of, as `make lock` says it.
LOCKS = {
    "test": (CORE, "local", "mcp", "otlp", "test", "build"),
    "image": (CORE, "build"),
    "docs": ("docs",),
    "model": ("model",),
    "cuda": ("cuda",),
    "fuzz": ("fuzz",),
}
ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?: ; ([^\\]+?))? \\$", re.MULTILINE)


def sources() -> dict[str, list[Requirement]]:
    """Every list of requirements in pyproject.toml, by its name."""
    listed: dict[str, list[str]] = {
        CORE: PROJECT["project"]["dependencies"],
        **PROJECT["project"]["optional-dependencies"],
        **PROJECT["dependency-groups"],
    }
    return {name: [Requirement(line) for line in lines] for name, lines in listed.items()}


def locked(name: str) -> dict[str, list[str]]:
    """The versions of every package, of which there is one for each set of circumstances."""
    versions: dict[str, list[str]] = {}
    for package, version, _ in ENTRY.findall((ROOT / "requirements" / f"{name}.lock").read_text()):
        versions.setdefault(canonicalize_name(package), []).append(version)
    return versions


def unmet(lock: str, source: str) -> Iterator[str]:
    versions = locked(lock)
    for wanted in sources()[source]:
        there = versions.get(canonicalize_name(wanted.name), [])
        if not any(wanted.specifier.contains(version, prereleases=True) for version in there):
            yield f"requirements/{lock}.lock: {wanted} is {', '.join(there) or 'not there'}"


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_what_the_project_asks_for(lock: str) -> None:
    complaints = [each for source in LOCKS[lock] for each in unmet(lock, source)]
    assert not complaints, "\n".join([*complaints, "run `make lock`"])


def test_everything_that_the_project_names_is_locked() -> None:
    unlocked = sources().keys() - {source for names in LOCKS.values() for source in names}
    assert not unlocked, f"add {unlocked} to `make lock` and to LOCKS here"
    files = {path.stem for path in (ROOT / "requirements").iterdir()}
    assert files == LOCKS.keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_holds_for_any_index_and_any_machine(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    entries = ENTRY.split(text)[4::4]
    assert entries
    assert all("--hash=sha256:" in each for each in entries)
    assert not re.search(r"://|--(?:index|find|extra)|/\w+/", text.replace("pyproject.toml:", ""))


def test_image_is_made_of_what_is_tested() -> None:
    image, test = locked("image"), locked("test")
    assert {name: test.get(name) for name in image} == image


def test_documents_change_nothing_that_tests_run_on() -> None:
    docs, test = locked("docs"), locked("test")
    assert {name: test.get(name, docs[name]) for name in docs} == docs


def test_build_needs_what_is_locked_for_it() -> None:
    assert PROJECT["build-system"]["requires"] == PROJECT["dependency-groups"]["build"]


def test_hooks_are_programs_of_the_project() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    tools = {name: f".venv/bin/{name} " for name in ("ruff", "lint-imports")}
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert any(hook["entry"].startswith(start) for start in tools.values()), hook


def test_every_target_is_in_the_help_and_the_other_way_round() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    told = {target for line in HELP for target in re.findall(r"\bmake ([a-z-]+)", line)}
    assert told == set(phony.group(1).split()) - {"help", "clean"} - PARTS


def test_package_is_typed_and_says_so() -> None:
    assert (ROOT / "orchestrator" / "py.typed").exists()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["orchestrator"]


def test_changelog_knows_the_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\]", changes, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert PROJECT["project"]["version"] in headings
