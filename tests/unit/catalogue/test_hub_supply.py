"""Models of a hub, against a stand-in for one: sized, brought, refused."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import hub
from orchestrator.catalogue.catalogue import located
from orchestrator.catalogue.hub_supply import LOOKS_MAX, HubSupply
from orchestrator.catalogue.predictions import Predictions
from orchestrator.core.room.planner import Fits
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.footprints import UNKNOWN, Footprint, Provenance
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.downloads import Downloads
from orchestrator.gguf.headers import Headers
from tests.asynchronous import eventually, run
from tests.standins.hub import StandInHub, stand_in_hub
from tests.unit.gguf.shapes import FOOTPRINTS, write_quantized

REPO = "org/Small-GGUF"
FILE = "small-Q4_K_M.gguf"
MODEL = (FOOTPRINTS / "g270.gguf").read_bytes()  # a real header, and none of its tensors
DECLARED = Footprint(device_bytes=7)


def spec(**changes) -> ModelSpec:
    said = {"hub": f"{REPO}:{FILE}", "auto_download": True, "footprint": UNKNOWN} | changes
    return ModelSpec(name=ModelName("small"), service=ServiceName("s"), **said)


class Bench:
    """One supply with the hub that it asks, and what it told."""

    def __init__(self, stand_in: StandInHub, home: Path) -> None:
        self.hub = stand_in
        self.home = home
        self.told: list[str] = []
        self.taken_in: list[ModelSpec] = []
        self.predictions = Predictions(Headers())
        self.downloads = Downloads()
        self.room_bytes: int | None = None  # of an empty device; None: none has been read
        self.supply = HubSupply(
            hub.Access(home=home, endpoint=stand_in.url),
            self,
            fits=self._fits,
            downloads=self.downloads,
            patience=hub.Patience(read_s=5, sleep=lambda _: None),
        )

    def _fits(self, asked: ModelSpec) -> Fits | None:
        if self.room_bytes is None:
            return None
        return Fits.NOW if asked.footprint.device_bytes <= self.room_bytes else Fits.NEVER

    async def bring(self, wanted: ModelSpec) -> ModelSpec | Failure:
        return await self.supply.bring(wanted, self.told.append)

    def brought(self, wanted: ModelSpec) -> ModelSpec | Failure:
        return run(self.bring(wanted))

    @property
    def asked_for_bytes(self) -> int:
        return len(self.hub.bodies())

    async def take_in(self, found: ModelSpec) -> ModelSpec:
        """As the catalogue does, whose part this plays."""
        self.taken_in.append(found)
        return found


@pytest.fixture
def bench(tmp_path):
    with stand_in_hub(REPO, {FILE: MODEL}) as stand_in:
        yield Bench(stand_in, tmp_path)


def test_a_model_of_no_hub_is_left_alone(bench):
    here = spec(hub=None, file="/models/a.gguf", auto_download=False)
    assert bench.brought(here) is here
    assert bench.hub.asked == []


def test_an_unknown_size_is_told_from_the_header_and_nothing_is_kept(bench):
    found = bench.brought(spec())
    assert found.footprint.provenance is Provenance.ESTIMATED
    assert found.footprint.device_bytes > 0
    assert bench.taken_in == [found]
    assert list(bench.home.iterdir()) == []
    assert not Path(found.file).exists()


def test_what_was_sized_is_brought_the_next_time_to_where_it_was_expected(bench):
    sized = bench.brought(spec())
    brought = bench.brought(sized)
    assert brought == sized
    assert Path(brought.file).read_bytes() == MODEL
    assert f"asking for {REPO}:{FILE}" in bench.told


def test_what_is_brought_is_told_in_figures(bench):
    sized = bench.brought(spec())
    bench.hub.behaviour.stall_after = 1000

    async def scene():
        bringing = asyncio.ensure_future(bench.bring(sized))
        await eventually(lambda: any(one.total_bytes for one in bench.downloads.all()))
        (one,) = bench.downloads.all()
        bench.hub.go_on.set()
        await bringing
        return one

    one = run(scene())
    assert (one.source, one.file, one.total_bytes) == (f"{REPO}:{FILE}", FILE, len(MODEL))
    assert bench.downloads.all() == ()


def test_other_settings_of_what_was_looked_at_need_no_second_look(bench):
    sized = bench.brought(spec())
    told = bench.predictions.under(replace(sized.serving, context_size=32768), sized)
    assert told.footprint.device_bytes > sized.footprint.device_bytes


def test_a_file_is_believed_before_what_the_operator_says_it_takes(bench):
    brought = bench.brought(spec(footprint=DECLARED))
    assert brought.footprint.provenance is Provenance.ESTIMATED
    assert Path(brought.file).read_bytes() == MODEL


def test_what_was_measured_is_believed_before_any_file(bench):
    measured = Footprint(device_bytes=9, provenance=Provenance.MEASURED)
    assert bench.brought(spec(footprint=measured)).footprint == measured


def test_what_is_here_is_not_asked_for(bench):
    bench.brought(spec(footprint=DECLARED))
    bench.hub.asked.clear()
    found = bench.brought(spec())
    assert found.footprint.provenance is Provenance.ESTIMATED
    assert Path(found.file).exists()
    assert bench.hub.asked == []


def test_what_may_not_be_downloaded_is_refused_with_the_command_that_does(bench):
    failure = bench.brought(spec(auto_download=False))
    assert failure.reason is FailureReason.MODEL_FILE
    assert f"orchestrator pull {REPO}:{FILE}" in failure.remedy
    assert bench.hub.asked == []


def test_the_projector_of_its_repository_comes_along(tmp_path):
    projector = MODEL  # any header will do: what it takes is looked at elsewhere
    with stand_in_hub(REPO, {FILE: MODEL, "mmproj-F16.gguf": projector}) as stand_in:
        found = Bench(stand_in, tmp_path).brought(spec(footprint=DECLARED))
        assert Path(found.mmproj).name == "mmproj-F16.gguf"


def test_a_projector_that_was_chosen_stays(tmp_path):
    (tmp_path / "mmproj-F16.gguf").touch()
    chosen = located(spec(mmproj="/mine.gguf"), tmp_path / FILE)
    assert (chosen.mmproj, chosen.file) == ("/mine.gguf", str(tmp_path / FILE))
    assert located(spec(), tmp_path / FILE).mmproj == str(tmp_path / "mmproj-F16.gguf")


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ({"gated": True}, FailureReason.MODEL_FILE),
        ({"token": "needed"}, FailureReason.MODEL_FILE),
        ({"hub_errors": [500] * 99}, FailureReason.DOWNLOAD),
        ({"corrupt": 99}, FailureReason.DOWNLOAD),
    ],
)
def test_what_the_hub_refuses_has_a_name_and_a_remedy(bench, behaviour, reason):
    for key, value in behaviour.items():
        setattr(bench.hub.behaviour, key, value)
    failure = bench.brought(spec(footprint=DECLARED))
    assert failure.reason is reason
    assert failure.detail.startswith("small is not here: ")
    assert failure.remedy


def test_a_repository_that_does_not_exist_lasts(bench):
    failure = bench.brought(spec(hub="org/Nothing-GGUF:a.gguf"))
    assert failure.reason is FailureReason.MODEL_FILE


def test_a_file_that_is_no_model_is_refused_before_it_is_brought(tmp_path):
    with stand_in_hub(REPO, {FILE: b"GGUF" + bytes(1000)}) as stand_in:
        failure = Bench(stand_in, tmp_path).brought(spec())
        assert failure.reason is FailureReason.MODEL_FILE
        assert "vram_mb" in failure.remedy
        assert list(tmp_path.iterdir()) == []


def test_a_download_that_nobody_wants_any_more_ends_and_keeps_what_arrived(bench):
    content = bench.hub.files[FILE] = MODEL + bytes(1 << 20)
    bench.hub.behaviour.stall_after = 1000

    async def scene():
        task = asyncio.create_task(bench.bring(spec(footprint=DECLARED)))
        await asyncio.to_thread(bench.hub.stalled.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        bench.hub.go_on.set()
        await eventually(lambda: all(each.name != "hub" for each in threading.enumerate()))

    run(scene())
    (partial,) = bench.home.rglob("*.incomplete")
    assert 1000 <= partial.stat().st_size < len(content)
    bench.hub.behaviour.stall_after = None
    assert Path(bench.brought(spec(footprint=DECLARED)).file).read_bytes() == content


# --- ORG/REPO alone ----------------------------------------------------------------------------

KINDS = {"Q8_0": 8, "Q6_K": 14, "Q4_K_M": 12, "Q3_K_M": 11, "Q2_K": 10}


@pytest.fixture
def several(tmp_path):
    """A repository of five quantizations of one small model."""
    files = {
        f"s-{name}.gguf": write_quantized(tmp_path / f"s-{name}.gguf", kind).read_bytes()
        for name, kind in KINDS.items()
    }
    with stand_in_hub(REPO, files) as stand_in:
        yield Bench(stand_in, tmp_path / "home")


def alone() -> ModelSpec:
    return spec(hub=REPO)


def needed_bytes(bench, name: str) -> int:
    return bench.brought(spec(hub=f"{REPO}:s-{name}.gguf")).footprint.device_bytes


def chosen(bench) -> str:
    return Path(bench.brought(alone()).file).name


@pytest.mark.parametrize("name", KINDS)
def test_the_best_quantization_that_fits_is_chosen_and_said(several, name):
    several.room_bytes = needed_bytes(several, name)
    sized = several.brought(alone())
    assert Path(sized.file).name == f"s-{name}.gguf"
    [said] = several.predictions.news()
    assert said.text.startswith(f"small is {name} (")
    assert f"of 5 that {REPO} has" in said.why
    assert several.predictions.news() == ()
    brought = several.brought(sized)
    assert Path(brought.file).read_bytes() == several.hub.files[f"s-{name}.gguf"]


def test_a_byte_less_room_is_another_quantization(several):
    several.room_bytes = needed_bytes(several, "Q8_0") - 1
    assert chosen(several) == "s-Q6_K.gguf"


def test_files_that_cannot_fit_are_not_looked_at(several):
    several.room_bytes = needed_bytes(several, "Q2_K")
    several.hub.asked.clear()
    assert chosen(several) == "s-Q2_K.gguf"
    looked_at = {asked.path.rsplit("/", 1)[-1].partition("?")[0] for asked in several.hub.bodies()}
    assert len(looked_at) <= LOOKS_MAX


def test_where_none_fits_it_is_the_smallest_that_a_refusal_speaks_of(several):
    several.room_bytes = 1
    assert chosen(several) == "s-Q2_K.gguf"


def test_before_a_device_was_read_it_is_what_a_pull_takes(several):
    assert chosen(several) == "s-Q4_K_M.gguf"
    assert several.predictions.news() == ()


def test_what_was_chosen_stays_while_the_daemon_runs(several):
    several.room_bytes = needed_bytes(several, "Q3_K_M")
    assert chosen(several) == "s-Q3_K_M.gguf"
    several.room_bytes = needed_bytes(several, "Q8_0")
    assert chosen(several) == "s-Q3_K_M.gguf"


def test_what_is_here_already_is_used(several):
    several.brought(spec(hub=f"{REPO}:Q4_K_M", footprint=DECLARED))
    several.room_bytes = needed_bytes(several, "Q8_0")
    assert chosen(several) == "s-Q4_K_M.gguf"


def test_a_hub_that_does_not_answer_is_why_it_is_not_here(several):
    several.hub.behaviour.hub_errors = [500] * 99
    failure = several.brought(alone())
    assert failure.reason is FailureReason.DOWNLOAD


def test_the_quantizations_of_its_repository_are_known_afterwards(several):
    room_bytes = needed_bytes(several, "Q3_K_M")
    sized = several.brought(spec(hub=f"{REPO}:Q8_0"))
    several.hub.asked.clear()
    best = next(
        way
        for way in several.predictions.ways(sized)
        if way.spec.footprint.device_bytes <= room_bytes
    )
    assert (best.file.quantization, best.file.file) == ("Q3_K_M", f"{REPO}:s-Q3_K_M.gguf")
    assert several.hub.asked == []
