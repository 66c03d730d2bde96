"""How long one scheduling decision takes. Prints medians and p99 in milliseconds.

python bench/bench_decisions.py
"""

import random
import statistics
import time
from dataclasses import replace

from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.room.eviction import Urgency, least_regretted
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.planner import find
from orchestrator.core.room.question import Question
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.leases import LeaseId, LeaseKind
from orchestrator.core.values.messages import Check, Checked, Released, Requested, Ticked
from orchestrator.core.values.residents import (
    Endpoint,
    InstanceId,
    Placement,
    Resident,
    ResidentState,
)
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import (
    Device,
    DeviceId,
    DeviceKind,
    DeviceState,
    GiB,
    MiB,
    Reading,
)


def spec(name: str, size_bytes: int, devices: tuple[str, ...] = ()) -> ModelSpec:
    return ModelSpec(
        name=ModelName(name),
        service=ServiceName("s"),
        footprint=Footprint(device_bytes=size_bytes),
        devices=devices,
        load_s=5.0,
    )


def machine(rng: random.Random, devices: int, residents: int, *, leased: float) -> Ledger:
    """Cards that are nearly full, most of their residents in use."""
    account = Ledger(headroom_bytes=512 * MiB)
    each = max(1, residents // devices)
    size = int(79 * GiB / each)
    for index in range(residents):
        device = DeviceId(f"GPU-{index % devices}")
        wanted = spec(f"m{index}", size - rng.randrange(0, 200 * MiB))
        account.put(
            Resident(
                instance=InstanceId(f"m{index}-1"),
                spec=wanted,
                placement=Placement(((device, wanted.footprint.device_bytes),)),
                state=ResidentState.READY,
                state_since_s=0,
                last_used_s=rng.uniform(0, 900),
                priority=rng.choice([3, 5, 5, 5, 8]),
                ready_s=0,
                endpoint=Endpoint("http://127.0.0.1:1"),
                lease_count=1 if rng.random() < leased else 0,
                use_gap_s=rng.uniform(1, 300),
            )
        )
    account.observe(
        [
            Reading(
                device=Device(id=DeviceId(f"GPU-{d}"), name="card", kind=DeviceKind.GPU),
                read_s=1000,
                state=DeviceState.OK,
                total_bytes=80 * GiB,
                free_bytes=80 * GiB
                - sum(each.placement.total_bytes for each in account.on(DeviceId(f"GPU-{d}"))),
            )
            for d in range(devices)
        ],
        {},
    )
    return account


def request(ticket: int, wanted: ModelSpec, priority: int = 5) -> Requested:
    return Requested(ticket=Ticket(ticket), spec=wanted, priority=priority, hold=LeaseKind.REQUEST)


def report(label: str, samples: list[float]) -> None:
    samples.sort()
    p99 = samples[int(len(samples) * 0.99)]
    median = statistics.median(samples)
    print(f"{label:64s} median {median * 1e3:7.3f} ms  p99 {p99 * 1e3:7.3f} ms")


def timed(act) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def bench_scheduler(rng: random.Random, *, models_waiting: int) -> None:
    """8 devices, 200 residents, 1 000 tickets waiting; what one more event costs."""
    account = machine(rng, 8, 200, leased=0.9)
    scheduler = Scheduler({}, account, Rules(queue_length_max=2000, patience_s=1e6))
    waiting = [spec(f"w{i}", rng.randrange(30, 70) * GiB) for i in range(models_waiting)]
    for ticket in range(1000):
        wish = request(ticket, waiting[ticket % models_waiting])
        for effect in scheduler.handle(wish, now_s=1000):
            if isinstance(effect, Check):
                scheduler.handle(Checked(effect.spec.name, None), now_s=1000)
    samples = [
        timed(lambda i=i: scheduler.handle(request(10_000 + i, waiting[0]), now_s=1001 + i / 100))
        for i in range(200)
    ]
    report(f"a new ticket, 1 000 tickets for {models_waiting} models wait", samples)
    samples = [
        timed(lambda i=i: scheduler.handle(Ticked(), now_s=1005 + i / 10)) for i in range(50)
    ]
    report(f"a tick, 1 000 tickets for {models_waiting} models wait", samples)
    state = scheduler.state
    samples = []
    for index in range(200):
        resident = state.ledger.resident(ModelName(f"m{index}"))
        if resident is None or resident.lease_count == 0 or resident.state != "ready":
            continue
        samples.append(timed(lambda: scheduler.handle(Released(LeaseId("unknown")), now_s=1020)))
    report(f"a release, 1 000 tickets for {models_waiting} models wait", samples)
    warm = next(r for r in account.residents if r.state is ResidentState.READY)
    samples = [
        timed(lambda i=i: scheduler.handle(request(20_000 + i, warm.spec), now_s=1030))
        for i in range(500)
    ]
    report("a request for a ready model, the same queue", samples)


def bench_plan(rng: random.Random, devices: int, residents: int, leased: float, label: str) -> None:
    account = machine(rng, devices, residents, leased=leased)
    samples = []
    for index in range(60):
        names = tuple(f"GPU-{d}" for d in rng.sample(range(devices), min(8, devices)))
        asked = Question(
            spec=spec(
                f"new{index}", rng.randrange(20, 60) * GiB, names if "may use 8" in label else ()
            ),
            urgency=Urgency(priority=5),
            rules=Rules(),
            now_s=1000.0,
            policy=least_regretted,
        )
        samples.append(timed(lambda asked=asked: find(asked, account)))
    report(label, samples)


def bench_exact(rng: random.Random) -> None:
    """One device, twelve idle residents: every subset is considered."""
    samples = []
    for _ in range(100):
        account = machine(rng, 1, 12, leased=0.0)
        for resident in list(account.residents):
            account.put(replace(resident, priority=5))
        asked = Question(
            spec=spec("new", rng.randrange(20, 60) * GiB),
            urgency=Urgency(priority=5),
            rules=Rules(),
            now_s=1000.0,
        )
        samples.append(timed(lambda asked=asked, account=account: find(asked, account)))
    report("an exact plan among 12 candidates", samples)


def main() -> None:
    rng = random.Random(7)
    bench_scheduler(rng, models_waiting=40)
    bench_scheduler(rng, models_waiting=500)
    bench_plan(rng, 8, 200, 0.5, "a plan, 8 devices, 200 residents, half in use")
    bench_plan(rng, 100, 2000, 0.5, "a plan, 100 devices, 2 000 residents, may use 8")
    bench_plan(rng, 100, 2000, 0.5, "a plan, 100 devices, 2 000 residents, may use all")
    bench_exact(rng)


if __name__ == "__main__":
    main()
