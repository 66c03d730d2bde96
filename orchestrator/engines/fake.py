"""Launches stand-ins: real processes that behave like a llama-server, or misbehave on request."""

from collections.abc import Iterator
from pathlib import Path

from orchestrator.core.values.failures import Failure
from orchestrator.core.values.residents import InstanceId, Placement
from orchestrator.core.values.specs import FakeBehaviour, ModelSpec
from orchestrator.engines.composed import ComposedEngine
from orchestrator.engines.llama.log import classify
from orchestrator.engines.llama.talker import LlamaTalker
from orchestrator.engines.premises import Premises
from orchestrator.engines.python_program import import_path, program
from orchestrator.ports import HOST_TOKEN, KEY_FILE_TOKEN, PORT_TOKEN, Launch

FAKE_DEVICE_PREFIX = "fake-"  # only these have an account to charge; on the rest it is weightless


def make(premises: Premises) -> ComposedEngine:
    return ComposedEngine(
        launcher=StandInLauncher(premises.claims_dir, closed=premises.closed),
        talker=LlamaTalker(premises.http),
        classify=classify,
    )


class StandInLauncher:
    """Runs `stand_in/server.py`, charged to the fake devices whose account is in `claims_dir`."""

    def __init__(self, claims_dir: Path | None, *, closed: bool = False) -> None:
        """`closed`: its servers have keys."""
        self._closed = closed
        self._claims_dir = claims_dir

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        return Launch(
            instance=instance,
            model=spec.name,
            service=spec.service,
            argv=(
                *program("orchestrator.stand_in.server"),
                *("--model", spec.name, "--host", HOST_TOKEN, "--port", PORT_TOKEN),
                *(("--api-key-file", KEY_FILE_TOKEN) if self._closed else ()),
                *_serving(spec),
                *_behaviour(spec.fake or FakeBehaviour()),
                *self._charges(placement),
            ),
            env=import_path(),
            devices=placement.devices,
        )

    def _charges(self, placement: Placement) -> Iterator[str]:
        if self._claims_dir is None:
            return
        yield from ("--claims", str(self._claims_dir))
        for device, share in placement.shares:
            if device.startswith(FAKE_DEVICE_PREFIX):
                yield from ("--device", f"{device}={share}")

    async def check(self, spec: ModelSpec) -> Failure | None:  # noqa: ARG002 - the port's
        """Nothing: there is no file that could be broken; what goes wrong shows when it runs."""
        return None


def _serving(spec: ModelSpec) -> Iterator[str]:
    yield from ("--slots", str(spec.serving.slots))
    yield from ("--context", str(spec.serving.context_size))
    if spec.serving.max_tokens is not None:
        yield from ("--max-tokens", str(spec.serving.max_tokens))


def _behaviour(fake: FakeBehaviour) -> Iterator[str]:
    yield from ("--load-s", str(fake.load_s), "--tokens-per-s", str(fake.tokens_per_s))
    yield from ("--stop-s", str(fake.stop_s), "--fail", fake.fail)
    if fake.ignore_sigterm:
        yield "--ignore-sigterm"
    if fake.dies_after_s is not None:
        yield from ("--dies-after-s", str(fake.dies_after_s))
    if fake.peak_mb is not None:
        yield from ("--peak-mb", str(fake.peak_mb))
    if fake.takes_no_vram:
        yield "--takes-no-vram"
