from pathlib import Path

from orchestrator.core.values.residents import Placement
from orchestrator.core.values.specs import FakeBehaviour, FakeFailure, Serving
from orchestrator.core.values.vram import DeviceId, MiB
from orchestrator.engines.fake import StandInLauncher
from tests.unit.engines.launched import INSTANCE, ON_HOST, spec_of


def words(spec, placement=ON_HOST, claims_dir=Path("/state/fake")) -> str:
    launch = StandInLauncher(claims_dir).launch(INSTANCE, spec, placement)
    assert (launch.instance, launch.model, launch.service) == (INSTANCE, "smol", "local")
    return " ".join(launch.argv)


def test_a_behaviour_is_passed_whole():
    said = words(
        spec_of(
            fake=FakeBehaviour(
                load_s=2, tokens_per_s=7, stop_s=0.2, ignore_sigterm=True, dies_after_s=9,
                peak_mb=700, fail=FakeFailure.NEVER_READY, takes_no_vram=True,
            ),
            serving=Serving(slots=3, context_size=512, max_tokens=20),
        )
    )  # fmt: skip
    for part in (
        "--load-s 2 --tokens-per-s 7",
        "--stop-s 0.2",
        "--fail never_ready",
        "--ignore-sigterm",
        "--dies-after-s 9",
        "--peak-mb 700",
        "--takes-no-vram",
        "--slots 3 --context 512 --max-tokens 20",
        "--host {host} --port {port}",
    ):
        assert part in said, part


def test_only_fake_devices_are_charged():
    placement = Placement(
        ((DeviceId("fake-1"), MiB), (DeviceId("fake-0"), 2 * MiB), (DeviceId("host"), MiB))
    )
    assert words(spec_of(), placement).endswith(
        "--claims /state/fake --device fake-1=1048576 --device fake-0=2097152"
    )


def test_without_fake_devices_it_weighs_nothing():
    assert "--claims" not in words(spec_of(), claims_dir=None)


def test_without_a_behaviour_it_has_the_usual_one():
    assert words(spec_of()) == words(spec_of(fake=FakeBehaviour()))
