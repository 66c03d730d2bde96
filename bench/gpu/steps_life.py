"""Steps about what happens to servers: on which processor they compute, and who keeps them."""

import os
import re
import subprocess
import sys
import time

import httpx
from card import MIB
from kit import ROOT, Kit, fill

from tests.scenarios.daemon import command

CONTRACT = "tests/contracts/test_devices.py"
CLAIM = re.compile(r"offloaded (\d+/\d+) layers")
BUFFER = re.compile(r"(\S+) model buffer size = +([\d.]+) MiB")
HIDDEN = """#!/bin/sh
# A server that the card is hidden from: what a missing driver or a wrong build comes to.
case $* in *--port*) CUDA_VISIBLE_DEVICES=-1; export CUDA_VISIBLE_DEVICES ;; esac
exec '{server}' "$@"
"""


def machine(kit: Kit) -> None:
    """What the card and its driver call themselves, and what our doctor says of the machine."""
    for name, said in kit.card.names().items():
        kit.tell(name, said)
    truth = kit.card.truth()
    kit.tell("total", round(truth.total / MIB), "MiB")
    kit.tell("used before anything", round(truth.used / MIB), "MiB")
    code, text = command(kit.directory, "doctor")
    kit.tell("doctor ends with", code)
    for line in text.splitlines():
        if line.strip():
            kit.tell("doctor", line.strip())
    version = subprocess.run(
        [kit.server, "--version"], capture_output=True, text=True, check=True, timeout=30
    )
    lines = (version.stdout + version.stderr).splitlines()
    kit.tell("llama-server", next((line for line in lines if "version" in line), "unknown"))


def contract(kit: Kit) -> None:
    """The contract suite of `Devices`, on the driver that is here."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", CONTRACT),
            *("-k", "not fake and not host and not stand"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # noqa: TID251 - a machine's own
        capture_output=True,
        text=True,
        check=False,
        timeout=kit.left_s(),
    )
    lines = done.stdout.strip().splitlines()
    kit.tell("pytest", lines[-1] if lines else done.stderr[-300:])
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            kit.tell("failed", line)
    if done.returncode:
        raise RuntimeError(f"the contract is broken: {done.stdout[-600:]}")


def layers(kit: Kit) -> None:
    """What the server claims, where its weights really lie, and what NVML has of it."""
    file = kit.model("smollm2")
    for count in kit.sizes.layers:
        asked = ("-ngl", count, *(() if int(count) else ("--device", "none")))
        before = kit.card.settled()
        with kit.serving(file, "-lv", "4", *asked) as server:
            taken = kit.card.settled().used - before.used
            log = server.log.read_text()
        words = " ".join(asked)
        claims = CLAIM.findall(log)
        kit.tell(f"{words}: claims", claims[-1] if claims else "nothing")
        where = ", ".join(f"{place} {size}" for place, size in BUFFER.findall(log))
        kit.tell(f"{words}: weights in", where or "nothing said", "MiB")
        kit.tell(f"{words}: NVML", round(taken / MIB, 1), "MiB")


def fallback(kit: Kit) -> None:
    """A server that cannot see the card computes on the processor: does anybody say so?"""
    script = kit.directory / "hidden-llama-server"
    script.write_text(HIDDEN.format(server=kit.server))
    script.chmod(0o755)
    before = kit.card.settled()
    with kit.daemon({"m": kit.spec("smollm2")}, services={"local": kit.service(script)}) as daemon:
        answer = daemon.post("/models/load", {"model": "m"})
        kit.tell("load answers", answer.status_code)
        kit.tell("NVML", round((kit.card.settled().used - before.used) / MIB, 1), "MiB")
        shown = daemon.status()["loaded_models"].get("m", {})
        for key in ("status", "vram_mb", "vram_provenance", "problem"):
            kit.tell(f"status: {key}", shown.get(key))
        for said in daemon.decisions(model_name="m"):
            kit.tell(f"decision: {said['kind']}", said["text"])


def adoption(kit: Kit) -> None:
    """`kill -9` of the daemon with two models loaded: they serve on, and the next one has them."""
    models = kit.servers()
    with kit.daemon(models) as daemon:
        for name in models:
            daemon.load(name)
        before = {name: daemon.servers(name)[0].pid for name in models}
        urls = [daemon.endpoint(name) for name in models]
        used = kit.card.settled().used
        daemon.kill()
        well = [httpx.get(url + "/health", trust_env=False).status_code for url in urls]
        kit.tell("servers without a daemon answer", ", ".join(map(str, well)))
        seconds = daemon.start()
        began_s = time.monotonic()
        daemon.until_loaded(**dict.fromkeys(models, "loaded"))
        kit.tell("it answers after", round(seconds, 3), "s")
        kit.tell("both are adopted after", round(seconds + time.monotonic() - began_s, 3), "s")
        after = {name: daemon.servers(name)[0].pid for name in models}
        kit.tell("the same processes", before == after)
        moved = abs(kit.card.settled().used - used) / MIB
        kit.tell("bytes that moved", round(moved, 1), "MiB")
        fill(daemon.endpoint("one"), kit.sizes.prompt_words)
        kit.tell("an adopted one answers", True)


def made_here(kit: Kit) -> None:
    """The files that later steps load: made before their seconds are counted."""
    began_s = time.monotonic()
    for name in {*kit.sizes.footprint_models, *kit.sizes.swap_pair, "smollm2"}:
        kit.model(name)
    kit.tell("files made in", round(time.monotonic() - began_s, 3), "s")
