"""What is found from one sweep to the next, and what of it joins the catalogue."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.catalogue.found.discovery import Discovery, no_places, places
from orchestrator.catalogue.found.seen import PlaceKind, Sweep
from orchestrator.config.discovery_section import DiscoverySettings
from orchestrator.config.loading import load_config
from orchestrator.core.values.footprints import Footprint
from orchestrator.gguf.errors import GgufError
from tests.factories import spec
from tests.unit.catalogue.found.things import HOME, S, header, seen

ON = DiscoverySettings(folders=("/m",))
FOOTPRINT = Footprint(device_bytes=7)


class World:
    """Files that come and go, as sweeps see them."""

    def __init__(self):
        self.sweep = Sweep()
        self.now_s = 1000
        self.bad = set()
        self.read = []
        self.discovery = Discovery(
            no_places, self._header, look=lambda _: self.sweep, clock_ns=lambda: self.now_s * S
        )

    def look(self, *files, **more):
        self.sweep = Sweep(tuple(files), **more)
        changed = self.discovery.sweep(ON)
        self.now_s += 2
        return changed, [find.name for find in self.discovery.finds]

    def _header(self, path):
        self.read.append(path.name)
        if path.name in self.bad:
            raise GgufError(f"{path} is not a GGUF file")
        return header()


@pytest.fixture
def world():
    return World()


def test_files_come_and_go(world):
    a, b = seen("a.gguf"), seen("b.gguf")
    assert world.look(a) == (True, ["a"])
    assert world.look(a) == (False, ["a"])
    assert world.look(a, b) == (True, ["a", "b"])
    assert world.look(b) == (True, ["b"])
    assert world.read == ["a.gguf", "b.gguf"], "a header is read once"


def test_a_file_that_grows_is_a_model_when_it_has_come(world):
    sizes = [seen("a.gguf", size=n, at_s=1000 + 2 * n) for n in range(3)]
    for file in sizes:
        assert world.look(file) == (False, [])
    assert world.look(sizes[-1]) == (True, ["a"])


def test_a_model_that_is_touched_stays(world):
    world.look(seen("a.gguf"))
    assert world.look(seen("a.gguf", at_s=1002))[1] == ["a"]


def test_what_is_wrong_with_a_file_is_looked_at_again(world):
    world.bad.add("a.gguf")
    world.look(seen("a.gguf"))
    assert world.discovery.finds[0].files.problem == "is not a GGUF file"
    world.bad.clear()
    assert world.look(seen("a.gguf")) == (True, ["a"])
    assert world.discovery.finds[0].files.problem is None


def test_what_cannot_be_read_now_is_kept(world):
    world.look(seen("a.gguf"))
    kept = world.look(unread=frozenset({HOME}), notes=("/m cannot be read.",))
    assert kept == (False, ["a"])
    assert [said.text for said in world.discovery.news()] == ["/m cannot be read."]
    assert list(world.discovery.news()) == []
    assert world.discovery.notes == ("/m cannot be read.",)


def test_a_long_sweep_is_followed_by_a_rest(world):
    assert not world.discovery.rests
    slow = world.discovery._look

    def long_look(on):
        world.now_s += 1
        return slow(on)

    world.discovery._look = long_look
    world.discovery.sweep(ON)
    assert world.discovery.rests
    world.now_s += 19
    assert not world.discovery.rests


def config(tmp_path, more=""):
    file = tmp_path / "orchestrator.yaml"
    file.write_text(f"services: {{local: {{engine: llama_cpp}}}}\n{more}")
    return load_config(file, environ={})


def test_what_is_written_goes_before_what_is_found(world, tmp_path):
    file = tmp_path / "c.gguf"
    file.write_text("")
    status = file.stat()
    same = replace(seen("c.gguf"), identity=(status.st_dev, status.st_ino))
    world.look(*(seen(f"{name}.gguf") for name in "abd"), same, seen("chain.gguf"))
    written = {
        "a": spec("a", gib=1),
        "x": replace(spec("x", gib=1), aliases=("b",), file=str(file)),
    }
    chains = "gateway: {chains: {chain: [a]}}\ndiscovery: {folders: [/m]}"
    found = world.discovery.beside(config(tmp_path, chains), written, lambda _: FOOTPRINT)
    assert list(found) == ["d"]
    assert world.discovery.path_of("d") == Path("/m/d.gguf")
    assert world.discovery.path_of("e") is None


def test_places_stand_in_the_order_of_names():
    hub, stores = Path("/hf"), [Path("/o"), Path("/p")]
    assert places(DiscoverySettings(), hub, stores) == ()
    all_of_them = DiscoverySettings(folders=("/m", "/m"), hugging_face=True, ollama=True)
    assert [(place.kind, str(place)) for place in places(all_of_them, hub, stores)] == [
        (PlaceKind.FOLDER, "/m"),
        (PlaceKind.HUGGING_FACE, "/hf/hub"),
        (PlaceKind.OLLAMA, "/o"),
        (PlaceKind.OLLAMA, "/p"),
    ]
