"""Limits of memory, as both versions of cgroups say them."""

import psutil
import pytest

from orchestrator.cgroups import MemoryGroup, allowed_bytes, memory_groups

MACHINE = psutil.virtual_memory().total


class Groups:
    """Both trees on disk, with our process in one of them."""

    def __init__(self, directory):
        self.root = directory / "cgroup"
        self.of_self = directory / "self"

    def put(self, path, **files):
        group = self.root / path
        group.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (group / f"memory.{name}").write_text(f"{text}\n")

    def enter(self, *lines):
        self.of_self.write_text("".join(f"{line}\n" for line in lines))

    def read(self):
        return memory_groups(self.root, self.of_self)

    @property
    def allowed(self):
        return allowed_bytes(self.root, self.of_self)


@pytest.fixture
def groups(tmp_path):
    return Groups(tmp_path)


def test_version_2(groups):
    groups.put("app", max=1000, current=700, stat="anon 400\ninactive_file 200")
    groups.enter("0::/app")
    assert groups.read() == (MemoryGroup(1000, 500),)
    assert groups.allowed == 1000


def test_version_1_beside_a_version_2_that_counts_no_memory(groups):
    groups.put(
        "memory/docker/app",
        limit_in_bytes=1000,
        usage_in_bytes=700,
        stat="rss 400\ntotal_inactive_file 150\ntotal_active_file 50",
    )
    groups.put("memory/docker", limit_in_bytes=900, usage_in_bytes=800, stat="rss 1")
    groups.put("memory", limit_in_bytes=9223372036854771712, usage_in_bytes=1, stat="rss 1")
    groups.enter("12:cpu,cpuacct:/docker/app", "4:memory:/docker/app", "0::/")
    assert groups.read() == (MemoryGroup(1000, 500), MemoryGroup(900, 800))
    assert groups.allowed == 900


def test_a_container_sees_its_own_group_as_the_root(groups):
    groups.put("memory", limit_in_bytes=1000, usage_in_bytes=700, stat="rss 1")
    groups.enter("4:memory:/docker/of/the/host")
    assert groups.allowed == 1000


@pytest.mark.parametrize("limit", ["max", 1 << 60, "a lot"])
def test_what_is_no_limit_leaves_the_machine(groups, limit):
    groups.put("app", max=limit, current=1, stat="anon 1")
    groups.enter("0::/app")
    assert groups.allowed == MACHINE


def test_without_cgroups_there_is_no_limit(groups):
    assert groups.read() == ()
    assert groups.allowed == MACHINE
