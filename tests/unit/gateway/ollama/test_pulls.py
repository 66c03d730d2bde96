import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import hub
from orchestrator.gateway.ollama import pulls as module
from orchestrator.gateway.ollama.pulls import Pullable, Pulls, catalogue_name, pullable, service_for
from orchestrator.web.wire.error_answers import Answered
from tests.standins.hub import stand_in_hub
from tests.unit.web.office import CONFIG
from tests.unit.web.samples import spec

REPO = "org/Small-GGUF"
FILE = "small-Q4_K_M.gguf"
MODEL = b"GGUF" + bytes(300_000)
SPECS = {
    each.name: each
    for each in (spec("here"), spec("there", hub="org/there-GGUF:Q8_0", aliases=("t",)))
}


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("here", None),
        ("here:latest", None),
        ("there", Pullable(reference="org/there-GGUF:Q8_0")),
        ("t:latest", Pullable(reference="org/there-GGUF:Q8_0")),
        ("hf.co/org/there-GGUF:Q8_0", Pullable(reference="org/there-GGUF:Q8_0")),
        ("hf.co/org/a-GGUF:Q4_0", Pullable(reference="org/a-GGUF:Q4_0", name="a:Q4_0")),
        ("org/a-GGUF:latest", Pullable(reference="org/a-GGUF", name="a")),
        ("qwen3-0.6b", Pullable(reference="qwen3-0.6b", name="qwen3-0.6b")),
    ],
)
def test_what_is_to_be_brought(said, means):
    assert pullable(said, SPECS) == means


def test_of_a_repository_alone_the_file_that_was_sized_is_brought():
    sized = spec(
        "m", hub="org/m-GGUF", file=f"/h/hub/models--org--m-GGUF/snapshots/{'c' * 40}/m.gguf"
    )
    assert pullable("m", {sized.name: sized}) == Pullable(reference="org/m-GGUF:m.gguf")
    unsized = replace(sized, file=None)
    assert pullable("m", {sized.name: unsized}) == Pullable(reference="org/m-GGUF")


@pytest.mark.parametrize(
    ("said", "status", "says"),
    [
        ("llama3.2", 404, "Ollama's library"),
        ("llama3.2:3b", 404, "hf.co/ORG/REPO"),
        ("hf.co/org/../a", 422, "not a model on a hub"),
        ("hf.co/org/a:../x.gguf", 422, "not a model on a hub"),
    ],
)
def test_what_ollamas_own_library_calls_models_is_refused(said, status, says):
    with pytest.raises(Answered) as refused:
        pullable(said, SPECS)
    answer = refused.value.answer
    assert answer.status == status
    assert says in f"{answer.detail} {answer.remedy}"


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("Qwen/Qwen3-0.6B-GGUF:Q8_0", "Qwen3-0.6B:Q8_0"),
        ("Qwen/Qwen3-0.6B-GGUF:Qwen3-0.6B-Q8_0.gguf", "Qwen3-0.6B:Q8_0"),
        ("Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B"),
        ("org/a@main:some/where/b+c.gguf", "a:b-c"),
        ("org/a:a.gguf", "a:a"),
    ],
)
def test_what_the_catalogue_calls_it(reference, name):
    assert catalogue_name(reference, hub.parse(reference)) == name


def test_which_service_runs_it():
    assert service_for(CONFIG) == "local"
    fake_alone = replace(CONFIG, services={"rehearsal": CONFIG.services["rehearsal"]})
    with pytest.raises(Answered, match="No service here"):
        service_for(fake_alone)


def pulls_of(stand_in, home):
    access = hub.Access(home=home, endpoint=stand_in.url)
    return Pulls(access, hub.Patience(read_s=5, attempts=2, sleep=lambda _: None))


async def all_lines(pulls, reference=f"{REPO}:{FILE}"):
    return [line async for line in pulls.lines(reference)]


def test_it_says_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TELL_S", 0.01)
    with stand_in_hub(REPO, {FILE: MODEL}) as stand_in:
        stand_in.behaviour.stall_after = 100_000

        async def scene():
            lines = []
            async for line in pulls_of(stand_in, tmp_path).lines(f"{REPO}:{FILE}"):
                lines.append(line)
                if line.get("completed"):
                    stand_in.go_on.set()
            return lines

        first, *others = asyncio.run(scene())
    assert first == {"status": "pulling manifest"}
    assert all(each["digest"].startswith("sha256:") for each in others)
    counted = [each for each in others if each.get("completed")]
    assert {each["total"] for each in counted} == {len(MODEL)}
    assert counted[-1]["completed"] == len(MODEL), "a bar ends at its end"
    here = hub.cached(f"{REPO}:{FILE}", home=tmp_path)
    assert here is not None
    assert Path(here).read_bytes() == MODEL


def test_what_the_hub_has_not_is_an_error_with_a_remedy(tmp_path):
    with stand_in_hub(REPO, {FILE: MODEL}) as stand_in:
        with pytest.raises(Answered) as refused:
            asyncio.run(all_lines(pulls_of(stand_in, tmp_path), f"{REPO}:Q8_0"))
        assert refused.value.answer.status == 404
        assert FILE in refused.value.answer.remedy
        stand_in.behaviour.cdn_errors = [500] * 9
        with pytest.raises(Answered) as refused:
            asyncio.run(all_lines(pulls_of(stand_in, tmp_path)))
        assert refused.value.answer.status == 503


def test_who_leaves_ends_the_download_and_the_next_one_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TELL_S", 0.01)
    with stand_in_hub(REPO, {FILE: MODEL}) as stand_in:
        stand_in.behaviour.stall_after = 100_000

        async def scene():
            pulls = pulls_of(stand_in, tmp_path)
            lines = pulls.lines(f"{REPO}:{FILE}")
            async for line in lines:
                if line.get("completed"):
                    break
            await lines.aclose()
            stand_in.go_on.set()
            return await all_lines(pulls)

        asyncio.run(scene())
        ranges = [each.headers.get("Range") for each in stand_in.bodies()]
    assert any(ranges), "it went on from where it was left"
    assert hub.cached(f"{REPO}:{FILE}", home=tmp_path) is not None


def test_two_at_once_and_others_are_told_to_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TELL_S", 0.01)
    with stand_in_hub(REPO, {FILE: MODEL}) as stand_in:

        async def scene():
            pulls = pulls_of(stand_in, tmp_path)
            for _ in range(module.PULLS_MAX):
                await pulls._turns.acquire()
            lines = pulls.lines(f"{REPO}:{FILE}")
            said = [await anext(lines), await anext(lines)]
            pulls._turns.release()
            return said + [line async for line in lines]

        lines = asyncio.run(scene())
    assert "waiting for 2 other downloads" in lines[1]["status"]
    assert hub.cached(f"{REPO}:{FILE}", home=tmp_path) is not None
