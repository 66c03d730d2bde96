"""Steps that hold what we say of bytes against what the driver says."""

import asyncio
import statistics
import time

from card import MIB
from kit import Kit, fill

from orchestrator.core.values.measurements import p95_bytes
from orchestrator.devices.nvml import NvmlDevices
from tests.scenarios.daemon import Daemon

SETTINGS = (
    {"context_size": 4096},
    {"context_size": 16384},
    {"context_size": 8192, "cache_type_k": "q8_0", "cache_type_v": "q8_0"},
    {"context_size": 8192, "slots": 4, "ubatch": 256},
)
SEEN_S_MAX = 5.0


def footprints(kit: Kit) -> None:
    """What we reserve, held against what NVML says that the card gave: told first, then learned."""
    models, errors = {}, []
    for name in kit.sizes.footprint_models:
        for number, settings in enumerate(SETTINGS[: kit.sizes.footprint_settings]):
            models[f"{name}-{number}"] = kit.spec(name, **settings)
    with kit.daemon(models) as daemon:
        for name, said in models.items():
            errors.append(_footprint(kit, daemon, name, said))
            if kit.left_s() < 20:
                kit.tell("settings left out for want of time", len(models) - len(errors))
                break
    kit.tell("settings", len(errors))
    kit.tell("error, median", statistics.median(errors), "%")
    kit.tell("error, p95", p95_bytes([round(error * 1000) for error in errors]) / 1000, "%")


def _footprint(kit: Kit, daemon: Daemon, name: str, said: dict) -> float:
    before = kit.card.settled()
    reserved_mb = reserved(daemon, name)
    loaded = daemon.load(name)
    fill(daemon.endpoint(name), kit.sizes.prompt_words, said.get("slots", 1))
    now = kit.card.settled()
    (server,) = daemon.servers(name)
    taken = (now.used - before.used) / MIB
    listed = now.processes.get(server.pid)
    told = daemon.status()["loaded_models"][name]
    error = 100 * (reserved_mb - taken) / max(taken, 1)
    kit.tell(f"{name}: reserved", reserved_mb, "MiB")
    kit.tell(f"{name}: NVML, of the card", round(taken, 1), "MiB")
    kit.tell(f"{name}: NVML, of the process", listed and round(listed / MIB, 1), "MiB")
    kit.tell(f"{name}: ours when it was ready", loaded["vram_mb"], "MiB")
    kit.tell(f"{name}: ours now ({told['vram_provenance']})", told["vram_mb"], "MiB")
    kit.tell(f"{name}: error", round(error, 2), "%")
    daemon.unload(name)
    kit.tell(f"{name}: would be reserved next time", reserved(daemon, name), "MiB")
    return abs(error)


def reserved(daemon: Daemon, name: str) -> int:
    """What a load of it would be promised."""
    promised: int = daemon.post("/models/plan", {"model": name}).json()["vram_mb"]
    return promised


def processes(kit: Kit) -> None:
    """Whose bytes are whose: two servers of ours, and a program of somebody else's that grows."""
    models = kit.servers()
    with kit.daemon(models) as daemon:
        for name in models:
            daemon.load(name)
        pids = {name: daemon.servers(name)[0].pid for name in models}
        truth = kit.card.settled()
        ours = _readings(frozenset(pids.values()))
        for name, pid in pids.items():
            listed = truth.processes.get(pid)
            kit.tell(f"{name}: NVML", listed and round(listed / MIB, 1), "MiB")
            kit.tell(f"{name}: ours", pid in ours and round(ours[pid] / MIB, 1), "MiB")
        _foreign(kit, daemon)


def _readings(pids: frozenset[int]) -> dict[int, int]:
    async def read() -> dict[int, int]:
        devices = NvmlDevices(time.time)
        first = (await devices.read(pids))[0]
        await devices.close()
        return {use.pid: use.used_bytes for use in first.processes or ()}

    return asyncio.run(read())


def _foreign(kit: Kit, daemon: Daemon) -> None:
    before_mb = _account(daemon)["foreign_mb"]
    empty = kit.card.settled()
    holder = kit.card.hold("torch")
    for number in range(kit.sizes.foreign_steps):
        took_s = holder.grow(kit.sizes.foreign_step)
        real_mb = (kit.card.settled().used - empty.used) / MIB
        began_s = time.monotonic()
        while time.monotonic() - began_s < SEEN_S_MAX:
            told_mb = _account(daemon)["foreign_mb"] - before_mb
            if abs(told_mb - real_mb) <= max(16, real_mb * 0.01):
                break
            time.sleep(0.02)
        kit.tell(f"foreign {number}: NVML", round(real_mb, 1), "MiB")
        kit.tell(f"foreign {number}: ours", told_mb, "MiB")
        kit.tell(f"foreign {number}: seen after", round(time.monotonic() - began_s, 3), "s")
        kit.tell(f"foreign {number}: PyTorch took", round(took_s, 3), "s")
    holder.end()


def _account(daemon: Daemon) -> dict:
    (account,) = daemon.http.get("/devices").json()["devices"][:1]
    return account


def context(kit: Kit) -> None:
    """What the bare context of a program costs, and how long it takes; then one more beside it."""
    for words in ("first", "second, beside it"):
        before = kit.card.settled()
        seconds = kit.card.hold("context").grow(0)
        taken = kit.card.settled().used - before.used
        kit.tell(f"{words}: context", round(seconds, 3), "s")
        kit.tell(f"{words}: context", round(taken / MIB, 1), "MiB")
    before = kit.card.settled()
    with kit.serving(kit.model("smollm2")) as server:
        idle = kit.card.settled().used - before.used
        fill(server.url, kit.sizes.prompt_words)
        used = kit.card.settled().used - before.used
        kit.tell("smallest server: after its load", round(idle / MIB, 1), "MiB")
        kit.tell("smallest server: after its first prompt", round(used / MIB, 1), "MiB")
