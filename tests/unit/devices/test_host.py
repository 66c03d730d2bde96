import asyncio
import os
import subprocess
import sys

import psutil
import pytest

from orchestrator.core.values.vram import DeviceKind, DeviceState, MiB
from orchestrator.devices.host import UTILIZATION_WINDOW_S_MIN, HostDevices, host_bytes

NOISE_BYTES = 128 * MiB  # other processes of a test run come and go


def read(devices, pids=None):
    (reading,) = asyncio.run(devices.read(pids))
    return reading


@pytest.fixture
def host(tmp_path):
    return HostDevices(lambda: 7.0, cgroup_of_self=tmp_path / "none")


class Groups:
    """A tree of cgroups on disk, with our process in one of them."""

    def __init__(self, directory):
        self.root = directory / "cgroup"
        self.of_self = directory / "self"

    def put(self, path, *, limit, current=0, **stat):
        group = self.root / path
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(f"{limit}\n")
        (group / "memory.current").write_text(f"{current}\n")
        (group / "memory.stat").write_text("".join(f"{k} {v}\n" for k, v in stat.items()))

    def enter(self, path):
        self.of_self.write_text(f"0::/{path}\n")

    def bytes(self):
        return host_bytes(self.root, self.of_self)


@pytest.fixture
def groups(tmp_path):
    return Groups(tmp_path)


def test_host_is_one_device_with_the_machines_ram(host):
    reading = read(host)
    assert (reading.device.id, reading.device.kind) == ("host", DeviceKind.HOST)
    assert reading.device.name
    assert (reading.state, reading.problem, reading.read_s) == (DeviceState.OK, "", 7.0)
    assert reading.total_bytes == psutil.virtual_memory().total
    assert abs(reading.free_bytes - psutil.virtual_memory().available) < NOISE_BYTES
    assert (reading.processes, reading.temperature_c) == (None, None)


def test_utilization_is_unknown_until_there_is_something_to_compare(host):
    assert read(host).utilization_percent is None
    began = psutil.cpu_times()
    while sum(psutil.cpu_times()) - sum(began) < 2 * UTILIZATION_WINDOW_S_MIN:
        pass  # a busy processor is what is measured
    assert 0 < read(host).utilization_percent <= 100


def test_our_processes_are_measured_and_the_dead_are_left_out(host):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    (use,) = read(host, frozenset({os.getpid(), child.pid})).processes
    assert use.pid == os.getpid()
    assert abs(use.used_bytes - psutil.Process().memory_info().rss) < NOISE_BYTES


def test_mapped_model_file_counts_and_is_not_free(host, tmp_path):
    size = 256 * MiB
    script = (
        "import mmap, sys; f = open(sys.argv[1], 'rb');"
        "m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ);"
        "sum(m[i] for i in range(0, len(m), 4096)); print('mapped', flush=True); sys.stdin.read()"
    )
    model = tmp_path / "model"
    model.write_bytes(b"w" * size)
    server = subprocess.Popen(
        [sys.executable, "-c", script, str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with server:
        server.stdout.readline()
        before = read(host, frozenset())
        during = read(host, frozenset({server.pid}))
        assert during.processes[0].used_bytes >= size
        assert abs(before.free_bytes - during.free_bytes - size) < NOISE_BYTES
        # Nobody asks for processes on most ticks: the account must not jump in between.
        assert abs(read(host).free_bytes - during.free_bytes) < NOISE_BYTES
        server.stdin.close()
        server.wait()


def test_cgroup_with_a_lower_limit_is_the_whole_machine(groups):
    groups.put("app", limit=1000, current=700, inactive_file=200, active_file=100, anon=400)
    groups.enter("app")
    assert (groups.bytes().total, groups.bytes().available) == (1000, 600)


def test_limits_further_up_hold_as_well(groups):
    groups.put("slice", limit=800, current=500)
    groups.put("slice/app", limit="max")
    groups.enter("slice/app")
    assert (groups.bytes().total, groups.bytes().available) == (800, 300)


def test_container_sees_its_own_group_as_the_root(groups):
    groups.put(".", limit=1000, current=1200)
    groups.enter("")
    assert (groups.bytes().total, groups.bytes().available) == (1000, 0)


def test_limit_above_the_machines_ram_means_nothing(groups):
    groups.put("app", limit=1 << 60)
    groups.enter("app")
    assert groups.bytes().total == psutil.virtual_memory().total


@pytest.mark.parametrize("lines", ["", "4:memory:/old\n", "0::/gone\n"])
def test_machine_without_cgroups_of_version_2_has_no_limit(groups, lines):
    groups.of_self.write_text(lines)
    assert groups.bytes().total == psutil.virtual_memory().total


def test_kernel_that_does_not_answer_makes_the_host_unreadable(groups):
    groups.put("app", limit="a lot")
    groups.enter("app")
    host = HostDevices(lambda: 7.0, cgroup_root=groups.root, cgroup_of_self=groups.of_self)
    reading = read(host, frozenset())
    assert (reading.state, reading.total_bytes, reading.free_bytes) == (
        DeviceState.UNREADABLE,
        None,
        None,
    )
    assert "a lot" in reading.problem
