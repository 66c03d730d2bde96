"""Steps in which models leave and come: how long, and whether two are ever promised the same."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

from card import MIB, Extremes
from kit import POLL_S, READY_S_MAX, Kit
from steps_bytes import reserved

from tests.scenarios.daemon import Daemon

BACK_S_MAX = 15.0
SWAP_S_MAX = 45.0  # then it is refused with its reason, and not cut off
SLACK = 64 * MIB  # that others may take meanwhile
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def releases(kit: Kit) -> None:
    """How long after its end a server's bytes come back, by SIGTERM and by SIGKILL."""
    file = kit.model(kit.sizes.swap_pair[0])
    for number in (signal.SIGTERM, signal.SIGKILL):
        before = kit.card.settled()
        with kit.serving(file) as server:
            held = kit.card.settled().used - before.used
            began_s, gone_s = time.monotonic(), 0.0
            server.process.send_signal(number)
            while time.monotonic() - began_s < BACK_S_MAX:
                if not gone_s and server.process.poll() is not None:
                    gone_s = time.monotonic() - began_s
                if gone_s and kit.card.free() >= before.free - SLACK:
                    break
                time.sleep(POLL_S)
            back_s = time.monotonic() - began_s
            missing = before.free - kit.card.free()
        kit.tell(f"{number.name}: held", round(held / MIB), "MiB")
        kit.tell(f"{number.name}: the process is gone after", round(gone_s, 3), "s")
        kit.tell(f"{number.name}: its bytes are back after", round(back_s, 3), "s")
        kit.tell(f"{number.name}: still missing then", round(max(missing, 0) / MIB), "MiB")


def swaps(kit: Kit) -> None:
    """Two models of which the card holds one, to and fro: out of memory? Promised what is not?"""
    models = {f"m{n}": kit.spec(name) for n, name in enumerate(kit.sizes.swap_pair)}
    with kit.card.filled(kit.sizes.swap_free), kit.daemon(models) as daemon:
        with Extremes(kit.card) as watch:
            seconds = list(_swap(kit, daemon))
        kinds = [said["kind"] for said in daemon.decisions()]
    kit.tell("swaps", len(seconds))
    if seconds:
        kit.tell("swap, median", round(median(seconds), 3), "s")
        kit.tell("swap, slowest", round(max(seconds), 3), "s")
    kit.tell("least that was ever free", round(watch.least_free / MIB), "MiB")
    kit.tell("decisions", ", ".join(f"{kind} {kinds.count(kind)}" for kind in sorted(set(kinds))))


def _swap(kit: Kit, daemon: Daemon) -> Iterator[float]:
    ends_s = time.monotonic() + kit.sizes.swap_s
    refused, over = [], 0.0
    for number in range(kit.sizes.swaps_max):
        if time.monotonic() > ends_s:
            break
        name = f"m{number % 2}"
        promised_mb, began_s = reserved(daemon, name), time.monotonic()
        answer = daemon.post("/models/load", {"model": name, "wait": SWAP_S_MAX})
        if answer.status_code != 200:
            refused.append(answer.json()["code"])
            continue
        yield time.monotonic() - began_s
        (server,) = daemon.servers(name)
        listed = kit.card.truth().processes.get(server.pid)
        if listed is not None:
            over = max(over, listed / MIB - promised_mb)
    kit.tell("refused or failed", len(refused))
    kit.tell("why", ", ".join(sorted(set(refused))) or "-")
    kit.tell("most that a server took beyond its promise", round(over), "MiB")


def loading(kit: Kit) -> None:
    """How long a load takes by `none` and by `mmap`, from a warm page cache and from a cold one."""
    file = kit.model(kit.sizes.written_model, written=True)
    kit.tell("file", round(file.stat().st_size / MIB), "MiB")
    for mode in kit.sizes.load_modes:
        for warm in (False, True):
            if warm:
                _read_whole(file)
            else:
                _forget(file, everything=not kit.card.rehearsed)
            with kit.serving(file, "--load-mode", mode) as server:
                words = f"{mode}, {'warm' if warm else 'cold'}"
                kit.tell(words, round(server.ready_s, 3), "s")
    file.unlink()


def _read_whole(file: Path) -> None:
    with file.open("rb", buffering=0) as content:
        while content.read(16 << 20):
            pass


def _forget(file: Path, *, everything: bool) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    if everything:
        with suppress(OSError):  # not root, or not to be written
            DROP_CACHES.write_text("3")


def together(kit: Kit) -> None:
    """Two model servers and a lease of plain VRAM, all asked for at the same instant."""
    models = kit.servers()
    lease = {"vram_mb": kit.sizes.lease_mb, "owner": "kit", "ttl_seconds": 60}
    answers: dict[str, int] = {}
    with kit.daemon(models) as daemon:

        def ask(name: str, path: str, body: dict) -> None:
            answers[name] = daemon.post(path, body, timeout=READY_S_MAX).status_code

        asks = [threading.Thread(target=ask, args=("lease", "/vram/leases", lease))]
        for name in models:
            load = (name, "/models/load", {"model": name})
            asks += [threading.Thread(target=ask, args=load)]
        began_s = time.monotonic()
        for thread in asks:
            thread.start()
        for thread in asks:
            thread.join()
        kit.tell("all three answered after", round(time.monotonic() - began_s, 3), "s")
        kit.tell("answers", ", ".join(f"{name} {code}" for name, code in sorted(answers.items())))
        holder = kit.card.hold("torch")
        holder.grow(kit.sizes.lease_mb * MIB // 2)
        truth = kit.card.settled()
        daemon.post("/models/plan", {"model": "one"})
        (account,) = daemon.http.get("/devices").json()["devices"][:1]
        holder.end()
    kit.tell("used, by NVML", round(truth.used / MIB), "MiB")
    for key in ("used_mb", "charged_mb", "foreign_mb", "available_mb"):
        kit.tell(f"half of the lease is used: {key}", account[key], "MiB")
