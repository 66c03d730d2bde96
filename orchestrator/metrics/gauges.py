"""What is now, from one snapshot: gauges of the whole state. A resident that is gone has none."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily

from orchestrator.access.audit.chain import HEAD_CHARS_MIN
from orchestrator.access.audit.lines import Head
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.snapshot import Snapshot
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceState
from orchestrator.desk.speeds import Speed
from orchestrator.downloads import Download
from orchestrator.metrics.families import OURS

ROOM, FOREIGN = "room", "foreign"  # who holds bytes where no model does


@dataclass(frozen=True, slots=True)
class Moment:
    """What there is to tell at one instant."""

    snapshot: Snapshot
    models: Collection[ModelName]
    version: str
    downloads: Collection[Download] = ()
    speeds: Collection[Speed] = ()
    audit_head: Head | None = None  # None: no audit log is kept


def gauges(moment: Moment) -> Iterator[GaugeMetricFamily]:
    yield from _devices(moment)
    yield _held(moment.snapshot)
    yield from _residents(moment.snapshot)
    yield from _queue(moment)
    open_ = {
        name
        for name, breaker in moment.snapshot.breakers.items()
        if breaker.refuses(moment.snapshot.now_s)
    }
    yield _family(
        "breaker_open",
        "1: loads of the model are refused, because it failed several times in a row.",
        ("model",),
        {(model,): float(model in open_) for model in moment.models},
    )
    yield from _downloads(moment.downloads)
    yield from _speeds(moment.speeds)
    if moment.audit_head is not None:
        yield from _audit(moment.audit_head)
    yield _family(
        "build_info", "1, of the version that runs.", ("version",), {(moment.version,): 1.0}
    )


def _family(
    name: str, about: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float | None]
) -> GaugeMetricFamily:
    """What is not known is left out: 0 would be a figure."""
    family = GaugeMetricFamily(f"{OURS}_{name}", about, labels=labels)
    for of, value in values.items():
        if value is not None:
            family.add_metric(of, value)
    return family


def _audit(head: Head) -> Iterator[GaugeMetricFamily]:
    """As numbers: a hash in a label would be a series of its own with every line."""
    yield _family(
        "audit_lines",
        "The number of the last line of the audit log. It never falls.",
        (),
        {(): float(head.seq)},
    )
    yield _family(
        "audit_head",
        f"The first {HEAD_CHARS_MIN} hexadecimal digits of the hash of that line, as a number.",
        (),
        {(): float(int(head.digest[:HEAD_CHARS_MIN], 16))},
    )


def _devices(moment: Moment) -> Iterator[GaugeMetricFamily]:
    accounts = {account.reading.device.id: account for account in moment.snapshot.accounts}

    def told(name: str, about: str, values: Mapping[str, float | None]) -> GaugeMetricFamily:
        return _family(name, about, ("device",), {(at,): value for at, value in values.items()})

    def read(of: str) -> Mapping[str, float | None]:
        return {at: getattr(account.reading, of) for at, account in accounts.items()}

    yield _family(
        "device_info",
        "1, of the device by its name.",
        ("device", "name"),
        {(at, account.reading.device.name): 1.0 for at, account in accounts.items()},
    )
    yield told(
        "device_up",
        "Whether the device can be read; nothing is planned on one that cannot.",
        {at: float(account.reading.state is DeviceState.OK) for at, account in accounts.items()},
    )
    yield told(
        "device_reading_age_seconds",
        "How long ago the device was asked last.",
        {
            at: max(0.0, moment.snapshot.now_s - account.reading.read_s)
            for at, account in accounts.items()
        },
    )
    yield told("device_vram_total_bytes", "What the device has.", read("total_bytes"))
    yield told(
        "device_vram_available_bytes",
        "What a load may really use.",
        {at: account.available_bytes for at, account in accounts.items()},
    )
    yield told(
        "device_vram_headroom_bytes",
        "Kept free by the configuration.",
        {at: float(account.headroom_bytes) for at, account in accounts.items()},
    )
    percent = read("utilization_percent")
    yield told(
        "device_utilization_ratio",
        "How busy the device is.",
        {at: None if value is None else value / 100 for at, value in percent.items()},
    )
    yield told("device_temperature_celsius", "How warm the device is.", read("temperature_c"))


def _held(snapshot: Snapshot) -> GaugeMetricFamily:
    """For each device it sums up to what is held. What our processes take beyond their promise
    belongs to them all.
    """
    held: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for account in snapshot.accounts:
        device, left = account.reading.device.id, float(account.charged_bytes)
        for resident in snapshot.residents:
            share = resident.placement.on(device)
            if share:
                room = resident.spec.plain_room
                kind, holder = ("lease", ROOM) if room else ("resident", str(resident.name))
                held[device, kind, holder] += share
                left -= share
        if left > 0:
            held[device, "resident", "beyond_promise"] += left
        if account.foreign_bytes is not None:
            held[device, FOREIGN, FOREIGN] += account.foreign_bytes
    return _family(
        "vram_held_bytes",
        "Who holds how much of a device: residents, leases of room, processes that are not ours.",
        ("device", "kind", "holder"),
        held,
    )


def _residents(snapshot: Snapshot) -> Iterator[GaugeMetricFamily]:
    models = [resident for resident in snapshot.residents if not resident.spec.plain_room]
    states = Counter(resident.state for resident in models)
    yield _family(
        "residents",
        "Models that occupy VRAM or were promised some, by their state.",
        ("state",),
        {(state,): float(states[state]) for state in ResidentState},
    )
    yield _family(
        "resident_silent",
        "1: the model's server runs and does not answer.",
        ("model",),
        {(one.name,): float(one.silent_since_s is not None) for one in models},
    )
    requests = Counter(
        lease.instance for lease in snapshot.leases if lease.kind is LeaseKind.REQUEST
    )
    in_flight: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for resident in models:
        passing = snapshot.passing.get(resident.instance, 0)
        in_flight[(resident.name,)] += max(requests[resident.instance], passing)
    yield _family(
        "resident_in_flight",
        "Requests on their way at a resident, also those that nginx carries.",
        ("model",),
        in_flight,
    )
    kinds = Counter(lease.kind for lease in snapshot.leases)
    yield _family(
        "leases", "By kind.", ("kind",), {(kind,): float(kinds[kind]) for kind in LeaseKind}
    )


def _downloads(downloads: Collection[Download]) -> Iterator[GaugeMetricFamily]:
    """While they are brought: a few at once, of files that models name."""
    yield _family(
        "download_bytes",
        "What is here of a file that is being brought.",
        ("file",),
        {(one.file,): float(one.done_bytes) for one in downloads},
    )
    yield _family(
        "download_size_bytes",
        "What it will have once it is here.",
        ("file",),
        {(one.file,): one.total_bytes for one in downloads},
    )


def _speeds(speeds: Collection[Speed]) -> Iterator[GaugeMetricFamily]:
    """Of models with `expected`."""
    labels = ("model", "figure")
    yield _family(
        "speed_expected",
        "What the catalogue expects of a model: tokens per second, or seconds.",
        labels,
        {(one.model, one.figure): one.expected for one in speeds},
    )
    yield _family(
        "speed_measured",
        "The same, as last measured: by a benchmark, or by requests that had it to themselves.",
        labels,
        {(one.model, one.figure): one.measured for one in speeds},
    )
    yield _family(
        "speed_drifts",
        "1: it is worse than expected by more than the bound.",
        labels,
        {(one.model, one.figure): float(one.drifts) for one in speeds},
    )


def _queue(moment: Moment) -> Iterator[GaugeMetricFamily]:
    queue = moment.snapshot.queue
    depth: dict[tuple[str, ...], float] = {(model,): 0.0 for model in moment.models}
    for waiting in queue:
        if (waiting.model,) in depth:  # room has no name of the catalogue
            depth[waiting.model,] += waiting.callers
    yield _family("queue_depth", "Callers that wait for a model.", ("model",), depth)
    yield _family(
        "queue_oldest_wait_seconds",
        "How long the one has waited who has waited longest.",
        (),
        {(): max((waiting.waited_s for waiting in queue), default=0.0)},
    )
    yield _family(
        "queue_oldest_bound_ratio",
        "The longest wait by its promised bound; above 1 a promise is broken.",
        (),
        {(): max((_of_bound(one.waited_s, one.bound_s) for one in queue), default=0.0)},
    )


def _of_bound(waited_s: float, bound_s: float) -> float:
    return waited_s / bound_s if bound_s > 0 else 0.0
