"""Every counter and histogram that the daemon exports, with its labels, on one page.

One registry for one daemon. Label values are bounded by the configuration: models, devices, states,
codes; never an owner, a request or a text. What a configuration makes possible stands at 0 from
the start, because an increase from nothing is not seen as one.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from orchestrator.core.values.failures import FailureReason
from orchestrator.core.values.footprints import Provenance
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.vram import DeviceState

OURS, SERVERS = "orchestrator", "llamacpp"

READY = "ready"
LOAD_RESULTS = (READY, *FailureReason)
EVICTION_REASONS = ("room", "due", "ttl", "settings", "operator", "hang", "abandoned")
WAIT_OUTCOMES = ("granted", "refused", "withdrawn")
STOP_RESULTS = ("verified", "stuck")
ADOPTION_RESULTS = ("adopted", "unseen")
READ_ERRORS = tuple(state for state in DeviceState if state is not DeviceState.OK)
REQUEST_STATUSES = ("success", "rejected", "error", "refused", "client_gone", "ended")
UNKNOWN_MODEL = "unknown"  # of a request that named none of the catalogue

_LOAD_S = (0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_WAIT_S = (0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_RELEASE_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)
_RATIO = (-0.2, -0.1, -0.05, -0.02, 0, 0.02, 0.05, 0.1, 0.2)
_FIRST_BYTE_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_REQUEST_S = (0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a fifth of all lines, and of no use to anybody


class Families:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._seeded: set[tuple[str, str]] = set()
        self._make_loads()
        self._make_waits()
        self._make_devices()
        self._make_requests()
        self._seed_fixed()

    def _counter(self, name: str, about: str, *labels: str, of: str = OURS) -> Counter:
        return Counter(name, about, labels, namespace=of, registry=self.registry)

    def _histogram(
        self, name: str, about: str, buckets: tuple[float, ...], *labels: str, of: str = OURS
    ) -> Histogram:
        registry = self.registry
        return Histogram(name, about, labels, namespace=of, registry=registry, buckets=buckets)

    def _make_loads(self) -> None:
        self.loads = self._counter(
            "loads", "Loads that ended: ready, or why they failed.", "model", "result"
        )
        self.load_duration = self._histogram(
            "load_duration_seconds", "How long loads took that went well.", _LOAD_S, "model"
        )
        self.deaths = self._counter(
            "deaths", "Servers that were ready and ended by themselves.", "model", "reason"
        )
        self.evictions = self._counter(
            "evictions", "Residents that were told to leave, by why.", "model", "reason"
        )
        self.reload = self._counter(
            "reload_seconds", "Seconds spent loading what had left for others.", "model"
        )
        self.reload_avoided = self._counter(
            "reload_avoided_seconds",
            "Seconds of loading that uses did not wait for, because the model was still there.",
            "model",
        )
        self.stops = self._counter(
            "stops", "Stops of servers: verified, or not (stuck).", "runtime", "result"
        )
        self.adoptions = self._counter(
            "adoptions", "Servers taken over that ran already: seen, or only believed.", "result"
        )

    def _make_waits(self) -> None:
        self.wait = self._histogram(
            "wait_seconds", "How long wishes for a model or for room waited.", _WAIT_S, "outcome"
        )
        self.refusals = self._counter("refusals", "Wishes that were refused, by code.", "code")

    def _make_devices(self) -> None:
        self.release = self._histogram(
            "vram_release_seconds",
            "From the end of a server until its device had the bytes back.",
            _RELEASE_S,
            "device",
        )
        self.footprint_error = self._histogram(
            "footprint_error_ratio",
            "What loads were seen to take by what they were promised, less 1.",
            _RATIO,
            "provenance",
        )
        self.read_errors = self._counter(
            "device_read_errors", "Readings that failed.", "device", "error"
        )

    def _make_requests(self) -> None:
        self.first_byte = self._histogram(
            "time_to_first_byte_seconds",
            "From a request's beginning to the first byte of its model's answer.",
            _FIRST_BYTE_S,
            "model",
        )
        self.unfigured = self._counter(
            "requests_without_figures",
            "Requests that the edge carried and whose figures were not to be had.",
        )
        self.requests = self._counter(
            "requests", "Requests of clients that ended.", "model", "status", of=SERVERS
        )
        self.request_duration = self._histogram(
            "requests_duration_seconds",
            "How long requests of clients took, their wait included.",
            _REQUEST_S,
            "model",
            of=SERVERS,
        )

    # --- at 0 from the start -----------------------------------------------------------------

    def _seed_fixed(self) -> None:
        for outcome in WAIT_OUTCOMES:
            self.wait.labels(outcome)
        for code in RefusalCode:
            self.refusals.labels(code)
        for provenance in Provenance:
            if provenance is not Provenance.UNKNOWN:
                self.footprint_error.labels(provenance)
        for result in ADOPTION_RESULTS:
            self.adoptions.labels(result)
        self._seed_requests(UNKNOWN_MODEL)

    def seed(
        self, *, models: Iterable[str], devices: Iterable[str], runtimes: Iterable[str]
    ) -> None:
        """All that these make possible, where it is not there yet."""
        for kind, names, make in (
            ("model", models, self._seed_model),
            ("device", devices, self._seed_device),
            ("runtime", runtimes, self._seed_runtime),
        ):
            for name in names:
                if (kind, name) not in self._seeded:
                    self._seeded.add((kind, name))
                    make(name)

    def _seed_model(self, model: str) -> None:
        for result in LOAD_RESULTS:
            self.loads.labels(model, result)
        for failure in FailureReason:
            self.deaths.labels(model, failure)
        for reason in EVICTION_REASONS:
            self.evictions.labels(model, reason)
        self.load_duration.labels(model)
        self.reload.labels(model)
        self.reload_avoided.labels(model)
        self._seed_requests(model)

    def _seed_requests(self, model: str) -> None:
        for status in REQUEST_STATUSES:
            self.requests.labels(model, status)
        self.request_duration.labels(model)
        self.first_byte.labels(model)

    def _seed_device(self, device: str) -> None:
        self.release.labels(device)
        for error in READ_ERRORS:
            self.read_errors.labels(device, error)

    def _seed_runtime(self, runtime: str) -> None:
        for result in STOP_RESULTS:
            self.stops.labels(runtime, result)
