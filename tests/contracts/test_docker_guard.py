"""The guard before Docker's socket: what passes, what does not, and what it costs.

A real engine, a real nginx. A refusal counts only if the engine did not carry out anything
either, so every hostile call is followed by a look at the engine itself.
"""

import http.client
import json
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import pytest

from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName, ServiceName
from orchestrator.core.values.vram import DeviceId
from orchestrator.ports import KEY_FILE_TOKEN, Launch
from orchestrator.runtimes.docker.closed import CLOSED_OPTIONS, key_archive
from orchestrator.runtimes.docker.create import (
    KEY_DIR,
    ContainerSettings,
    closed_network,
    container_body,
    models_dir,
)
from tests.contracts import docker_parts as parts
from tests.pace import crowd

pytestmark = [pytest.mark.docker, pytest.mark.nginx]

DATA = Path(__file__).parents[1] / "data" / "docker_guard"
HOSTILE = sorted((DATA / "hostile").glob("*.json"))
CALLS = json.loads((DATA / "calls.json").read_text())
FOREIGN_NAME = f"guard-test-foreign-{parts.RUN}"
WATCHED_NAME = f"guard-test-watched-{parts.RUN}"
MODELS = f"/tmp/vram-guard-models-{parts.RUN}"  # not /models: that is what the fixtures name
VOLUME = f"guard-test-volume-{parts.RUN}"
LAUNCH = Launch(
    instance=InstanceId("guarded-1"),
    model=ModelName("guarded"),
    service=ServiceName("standin"),
    argv=("/sleeper",),
    image=parts.IMAGE,
)
REFUSED = frozenset({400, 403, 404, 405, 411, 413, 414})


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, url: str) -> None:
        super().__init__("engine", timeout=20)
        self._path = url.removeprefix("unix://")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


@dataclass(frozen=True)
class Scene:
    """A guard, its engine, and one container each of ours, of somebody else's, and to watch."""

    guard: str
    engine: str
    ours: str
    foreign: str
    watched: str

    def call(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        names = {
            "FOREIGN_SHORT": self.foreign[:12],
            "FOREIGN_NAME": FOREIGN_NAME,
            "FOREIGN": self.foreign,
            "OURS": self.ours,
            "WATCHED": WATCHED_NAME,
            "=guarded": f"={parts.GUARD_IDENTITY}",
            "name=vram-guard": f"name=vram-guard-{parts.RUN}",
        }
        for placeholder, value in names.items():
            target = target.replace(placeholder, value)
        path, mark, query = target.partition("?")
        target = path + mark + quote(query, safe="=&%:,/+")
        with closing(UnixConnection(self.guard)) as connection:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def containers(self) -> dict[str, str]:
        """Everything on the engine that these tests could have touched: id and state."""
        with closing(docker.APIClient(base_url=self.engine, version="auto")) as client:
            listed = client.containers(all=True)
        return {
            each["Id"]: each["State"]
            for each in listed
            if each["Labels"].get("guard-test") == parts.RUN
            or each["Names"][0].startswith(f"/vram-guard-{parts.RUN}")
        }


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    engine = parts.need_engine()
    image = parts.import_image(engine)
    models = Path(MODELS)
    models.mkdir(exist_ok=True)
    label = {"guard-test": parts.RUN}
    ours = {**label, "vram-orchestrator.identity": parts.GUARD_IDENTITY}
    with closing(docker.APIClient(base_url=engine, version="auto")) as client:
        ids = []
        for name, labels in (
            (f"vram-guard-test-{parts.RUN}", ours),
            (FOREIGN_NAME, {**label, "vram-orchestrator.identity": "another"}),
            (WATCHED_NAME, label),
        ):
            command = ["/sleeper", "--lines", "3", "--tick", "100"]
            made = client.create_container(image, command, name=name, labels=labels)
            client.start(made["Id"])
            ids.append(made["Id"])
        try:
            with parts.guard(
                engine, GUARD_MODELS=f"/models={models}", GUARD_CONTAINERS=WATCHED_NAME
            ) as url:
                yield Scene(url, engine, *ids)
        finally:
            parts.remove_all(engine, f"guard-test={parts.RUN}")
            parts.remove_all(engine, f"vram-orchestrator.identity={parts.GUARD_IDENTITY}")
            models.rmdir()


def honest() -> bytes:
    return as_configured((DATA / "honest.json").read_bytes())


def as_configured(body: bytes) -> bytes:
    """The fixtures speak of /models and of one identity; each run has its own."""
    body = body.replace(b'"Source": "/models"', f'"Source": "{MODELS}"'.encode())
    return body.replace(b'"guarded"', f'"{parts.GUARD_IDENTITY}"'.encode())


def test_the_honest_body_passes_and_arrives_whole(scene: Scene) -> None:
    status, answer = scene.call("POST", "/v1.41/containers/create?name=vram-guard-honest", honest())
    assert status == 201, answer
    container = json.loads(answer)["Id"]
    status, answer = scene.call("GET", f"/v1.41/containers/{container}/json")
    assert status == 200
    seen, sent = json.loads(answer), json.loads(honest())
    host = seen["HostConfig"]
    assert seen["Config"]["Labels"] == sent["Labels"]
    assert seen["Config"]["Entrypoint"] + seen["Config"]["Cmd"] == sent["Entrypoint"] + sent["Cmd"]
    assert set(sent["Env"]) <= set(seen["Config"]["Env"])
    assert host["Memory"] == sent["HostConfig"]["Memory"]
    assert host["Tmpfs"] == sent["HostConfig"]["Tmpfs"]
    assert host["Mounts"][0]["ReadOnly"] is True
    assert (
        host["DeviceRequests"][0]["DeviceIDs"]
        == sent["HostConfig"]["DeviceRequests"][0]["DeviceIDs"]
    )
    assert (host["Privileged"], host["CapDrop"], host["ReadonlyRootfs"]) == (False, ["ALL"], True)
    assert (
        scene.call("DELETE", f"/v1.41/containers/{container}?force=True&v=True&link=False")[0]
        == 204
    )


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_a_hostile_body_is_refused(scene: Scene, path: Path) -> None:
    before = scene.containers()
    body = as_configured(path.read_bytes())
    status, answer = scene.call("POST", "/v1.41/containers/create?name=vram-guard-evil", body)
    assert status in {400, 403}, answer
    assert b"docker-guard" in answer
    assert scene.containers() == before


@pytest.mark.parametrize(
    "path", [each for each in HOSTILE if each.stem.startswith("nul_")], ids=lambda path: path.stem
)
def test_a_nul_is_refused_before_anything_is_read(scene: Scene, path: Path) -> None:
    body = as_configured(path.read_bytes())
    status, answer = scene.call("POST", "/v1.41/containers/create?name=vram-guard-evil", body)
    assert (status, json.loads(answer)) == (400, {"message": "docker-guard: body: holds a NUL"})


def test_what_is_mounted_inside_the_models_does_not_come_along(scene: Scene) -> None:
    """Read-only holds for one file system: another one inside would be writable."""
    inside = Path(MODELS) / "inside"
    inside.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777,size=1m", "x", inside], check=True)
    try:
        body = json.loads(honest())
        body["Cmd"] = ["--lines", "1"]
        del body["HostConfig"]["DeviceRequests"]
        target = "/v1.41/containers/create?name=vram-guard-mounts"
        status, answer = scene.call("POST", target, json.dumps(body).encode())
        assert status == 201, answer
        container = json.loads(answer)["Id"]
        assert scene.call("POST", f"/v1.41/containers/{container}/start")[0] == 204
        _, answer = scene.call("GET", f"/v1.41/containers/{container}/json")
        seen = Path(f"/proc/{json.loads(answer)['State']['Pid']}/mountinfo").read_text()
        mounted = [line.split() for line in seen.splitlines() if " /models" in line]
        assert [each[4] for each in mounted] == ["/models"]
        assert mounted[0][5].split(",")[0] == "ro"
        scene.call("DELETE", f"/v1.41/containers/{container}?force=True&v=True&link=False")
    finally:
        subprocess.run(["umount", inside], check=True)
        inside.rmdir()


def test_every_hostile_body_differs_from_the_honest_one(scene: Scene) -> None:
    assert len(HOSTILE) >= 26
    assert all(as_configured(path.read_bytes()).strip() != honest().strip() for path in HOSTILE)


# All that the API has had so far and the daemon has no use for, and names that it may yet get.
MEMBERS = (
    *("AutoRemove", "Annotations", "Binds", "BlkioDeviceReadBps", "BlkioDeviceReadIOps"),
    *("BlkioDeviceWriteBps", "BlkioDeviceWriteIOps", "BlkioWeight", "BlkioWeightDevice", "CapAdd"),
    *("Capabilities", "Cgroup", "CgroupParent", "CgroupnsMode", "ConsoleSize", "ContainerIDFile"),
    *("CpuCount", "CpuPercent", "CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime"),
    *("CpuShares", "CpusetCpus", "CpusetMems", "DeviceCgroupRules", "Devices", "Dns", "DnsOptions"),
    *("DnsSearch", "ExtraHosts", "GroupAdd", "IOMaximumBandwidth", "IOMaximumIOps", "IpcMode"),
    *("Isolation", "KernelMemory", "KernelMemoryTCP", "Links", "LxcConf", "MaskedPaths"),
    *("MemoryReservation", "MemorySwappiness", "NanoCpus", "NanoCPUs", "OomKillDisable"),
    *("OomScoreAdj", "PidMode", "Privileged", "PublishAllPorts", "ReadonlyPaths", "RestartPolicy"),
    *("Runtime", "StorageOpt", "Sysctls", "Ulimits", "UTSMode", "UsernsMode", "VolumeDriver"),
    *("VolumesFrom", "Unconfined", "privileged", "x-privileged", "", "Mounts ", "\u006dounts"),
)


@pytest.mark.parametrize("member", MEMBERS)
def test_unknown_hostconfig_member_is_refused(scene: Scene, member: str) -> None:
    """Whatever its value: what the guard does not know it does not pass on."""
    before = scene.containers()
    for value in (None, False, 0, "", [], {}, True, 1, "host", ["ALL"]):
        body = json.loads(honest())
        body["HostConfig"][member] = value
        target = "/v1.41/containers/create?name=vram-guard-member"
        status, answer = scene.call("POST", target, json.dumps(body).encode())
        assert status in {400, 403}, (value, answer)
        assert b"docker-guard" in answer
    assert scene.containers() == before


@pytest.mark.parametrize(
    ("method", "target"),
    [pytest.param(*call, id=f"{call[0]} {call[1]}") for calls in CALLS.values() for call in calls],
)
def test_a_hostile_call_is_refused(scene: Scene, method: str, target: str) -> None:
    before = scene.containers()
    body = honest() if "/create" in target else None
    status, answer = scene.call(method, target, body)
    assert status in REFUSED, answer
    assert method == "HEAD" or status != 404 or b"docker-guard" in answer or b"nginx" in answer
    assert scene.containers() == before


def test_bodies_above_64_kib_are_refused(scene: Scene) -> None:
    padded = json.loads(honest())
    padded["Cmd"] += ["x" * 8000] * 9
    status, answer = scene.call(
        "POST", "/v1.41/containers/create?name=vram-guard-big", json.dumps(padded).encode()
    )
    assert (status, b"docker-guard" in answer) == (413, True)


def test_a_chunked_body_is_held_to_the_same_limit_and_the_same_checks(scene: Scene) -> None:
    def send(body: bytes) -> int:
        with closing(UnixConnection(scene.guard)) as connection:
            pieces = [body[i : i + 4096] for i in range(0, len(body), 4096)]
            target = "/v1.41/containers/create?name=vram-guard-chunked"
            connection.request("POST", target, iter(pieces), encode_chunked=True)
            return connection.getresponse().status

    assert send(b" " * (1 << 17)) == 413
    assert send(as_configured((DATA / "hostile" / "privileged.json").read_bytes())) == 403


def test_a_body_where_none_belongs_is_refused(scene: Scene) -> None:
    body = b'{"HostConfig": {"Privileged": true}}'
    assert scene.call("POST", "/v1.41/containers/OURS/start", body)[0] == 403


def test_a_body_behind_many_headers_is_refused(scene: Scene) -> None:
    body = b'{"HostConfig": {"Privileged": true}}'
    for stated in ("Content-Length", "Transfer-Encoding"):
        with closing(UnixConnection(scene.guard)) as connection:
            connection.putrequest("POST", f"/v1.41/containers/{scene.ours}/start")
            for number in range(150):
                connection.putheader(f"X-{number}", "y")
            connection.putheader(stated, len(body) if stated == "Content-Length" else "chunked")
            length = b"%x\r\n" % len(body)
            chunked = length + body + b"\r\n0\r\n\r\n"
            connection.endheaders(body if stated == "Content-Length" else chunked)
            assert connection.getresponse().status == 403, stated


def test_headers_of_the_caller_do_not_reach_the_engine(scene: Scene) -> None:
    with closing(UnixConnection(scene.guard)) as connection:
        connection.putrequest("GET", f"/v1.41/containers/{scene.ours}/json")
        connection.putheader("Connection", "Upgrade")
        connection.putheader("Upgrade", "tcp")
        connection.putheader("X-Registry-Auth", "e30=")
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)


def test_two_requests_in_one_packet_are_checked_one_by_one(scene: Scene) -> None:
    first = f"GET /v1.41/containers/{scene.ours}/json HTTP/1.1\r\nHost: x\r\n\r\n"
    second = f"GET /v1.41/containers/{scene.foreign}/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(scene.guard.removeprefix("unix://"))
        raw.sendall((first + second).encode())
        answers = b""
        while piece := raw.recv(65536):
            answers += piece
    assert answers.startswith(b"HTTP/1.1 200")
    assert answers.count(b"HTTP/1.1 403") == 1


def test_a_named_container_can_be_watched_and_stopped_but_not_removed(scene: Scene) -> None:
    assert scene.call("GET", f"/v1.41/containers/{WATCHED_NAME}/json")[0] == 200
    assert scene.call("GET", f"/v1.41/containers/{scene.watched}/logs?stdout=1&tail=1")[0] == 200
    assert scene.call("DELETE", f"/v1.41/containers/{WATCHED_NAME}?force=True")[0] == 403
    assert scene.call("POST", f"/v1.41/containers/{WATCHED_NAME}/stop?t=1")[0] == 204
    assert scene.call("POST", f"/v1.41/containers/{WATCHED_NAME}/start")[0] == 204


def test_what_does_not_exist_is_not_found_rather_than_forbidden(scene: Scene) -> None:
    assert scene.call("GET", "/v1.41/containers/vram-nobody/json")[0] == 404
    assert scene.call("GET", "/v1.41/images/nobody:latest/json")[0] == 404


def test_lists_show_only_ours(scene: Scene) -> None:
    mine = '{"label":["vram-orchestrator.identity=guarded"]}'
    status, answer = scene.call("GET", f"/v1.41/containers/json?all=1&filters={mine}")
    assert (status, [each["Id"] for each in json.loads(answer)]) == (200, [scene.ours])


def test_followed_logs_arrive_line_by_line(scene: Scene) -> None:
    with closing(UnixConnection(scene.guard)) as connection:
        connection.request("GET", f"/v1.41/containers/{scene.ours}/logs?stdout=1&follow=1&tail=1")
        answer = connection.getresponse()
        arrivals = []
        for _ in range(4):
            answer.read1(4096)
            arrivals.append(time.monotonic())
    # The container writes every 100 ms: what a buffer held back would arrive at one moment.
    assert arrivals[-1] - arrivals[0] > 0.15


def test_events_arrive_as_they_happen_and_only_about_ours(scene: Scene) -> None:
    filters = json.dumps(
        {
            "type": ["container"],
            "event": ["die"],
            "label": [f"vram-orchestrator.identity={parts.GUARD_IDENTITY}"],
        }
    )
    with closing(UnixConnection(scene.guard)) as connection:
        connection.request("GET", f"/v1.41/events?filters={quote(filters)}")
        answer = connection.getresponse()
        with closing(docker.APIClient(base_url=scene.engine, version="auto")) as client:
            client.kill(scene.foreign)
            client.kill(scene.ours)
            killed_s = time.monotonic()
            event = json.loads(answer.readline())
            waited_s = time.monotonic() - killed_s
            client.start(scene.foreign)
            client.start(scene.ours)
    assert event["Actor"]["ID"] == scene.ours
    assert waited_s < 1 * crowd()


def test_it_adds_less_than_a_millisecond_per_call(scene: Scene) -> None:
    def seconds(connection: UnixConnection) -> float:
        begun = time.perf_counter()
        connection.request("GET", f"/v1.41/containers/{scene.ours}/json")
        connection.getresponse().read()
        return time.perf_counter() - begun

    bare, guarded = [], []
    with (
        closing(UnixConnection(scene.engine)) as direct,
        closing(UnixConnection(scene.guard)) as by,
    ):
        for _ in range(200):  # in turns, so that a busy machine is busy for both
            bare.append(seconds(direct))
            guarded.append(seconds(by))
    added_s = statistics.median(guarded) - statistics.median(bare)
    print(f"bare {statistics.median(bare) * 1e6:.0f} us, guard adds {added_s * 1e6:.0f} us")
    assert added_s < 0.001 * crowd()


@pytest.mark.parametrize(("allowed", "status"), [("yes", 201), ("", 403), ("no", 403)])
@pytest.mark.parametrize("network", [None, "none"])
def test_a_port_on_all_interfaces_needs_the_operators_word(
    scene: Scene, network: str | None, allowed: str, status: int
) -> None:
    settings = ContainerSettings(
        identity=parts.GUARD_IDENTITY, version="0.1.0", network=network, direct="here"
    )
    body = container_body(LAUNCH, settings)
    with parts.guard(scene.engine, GUARD_NETWORK=network or "", GUARD_DIRECT=allowed) as url:
        here = replace(scene, guard=url)
        target = f"/v1.41/containers/create?name=vram-guard-{parts.RUN}-direct"
        answered, answer = here.call("POST", target, json.dumps(body).encode())
    assert answered == status, answer
    if answered == 201:
        with closing(docker.APIClient(base_url=scene.engine, version="auto")) as client:
            client.remove_container(json.loads(answer)["Id"], v=True)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 201),
        ({"cdi": True}, 201),
        ({"network": None}, 403),
        ({"models": (models_dir(Path("/models"), "guard-test-other"),)}, 403),
        ({"user": "0:0"}, 403),
    ],
)
def test_what_the_orchestrator_makes_passes_where_both_are_set_up_alike(
    scene: Scene, changes: dict[str, Any], status: int
) -> None:
    """With a shared network, a volume of models and a list of images."""
    settings = ContainerSettings(
        identity=parts.GUARD_IDENTITY,
        version="0.1.0",
        network="none",
        models=(models_dir(Path("/models"), VOLUME),),
    )
    launch = replace(
        LAUNCH,
        mounts=(Path("/models/a.gguf"),),
        devices=(DeviceId("GPU-1b9c2f7e-5a0d-4c1e-9f3a-0d6f2e7b8c11"),),
    )
    body = json.dumps(container_body(launch, replace(settings, **changes))).encode()
    with parts.guard(
        scene.engine,
        GUARD_NETWORK="none",
        GUARD_MODELS=f"/models={VOLUME}",
        GUARD_IMAGES=f"other:1,{parts.IMAGE}",
    ) as url:
        here = replace(scene, guard=url)
        target = "/v1.41/containers/create?name=vram-guard-settings"
        answered, answer = here.call("POST", target, body)
        assert answered == status, answer
        other = body.replace(parts.IMAGE.encode(), b"somebody-elses:1")
        assert here.call("POST", target, other)[0] == 403
        assert here.call("GET", f"/v1.41/images/{parts.IMAGE}/json")[0] == 200
        assert here.call("GET", "/v1.41/images/somebody-elses:1/json")[0] == 403
        assert here.call("GET", "/v1.41/images/other:1/json")[0] == 404
    with closing(docker.APIClient(base_url=scene.engine, version="auto")) as client:
        if answered == 201:
            client.remove_container(json.loads(answer)["Id"], v=True)
            client.remove_volume(VOLUME)


KEY = "k" * 43
CLOSED = replace(LAUNCH, argv=("/sleeper", "--api-key-file", KEY_FILE_TOKEN))
ISOLATED = ContainerSettings(
    identity=parts.GUARD_IDENTITY, version="0.1.0", network=closed_network(parts.GUARD_IDENTITY)
)
NETWORK = {
    "Name": closed_network(parts.GUARD_IDENTITY),
    "Driver": "bridge",
    "Internal": True,
    "CheckDuplicate": True,
    "Options": CLOSED_OPTIONS,
    "Labels": {"vram-orchestrator.identity": parts.GUARD_IDENTITY},
}


@pytest.fixture(scope="module")
def closed(scene: Scene) -> str:
    """A container that asks for a key, in its network, made by way of the guard and not started."""
    target = f"/v1.41/networks/{NETWORK['Name']}"
    assert scene.call("GET", target)[0] == 404
    assert scene.call("POST", "/v1.41/networks/create", json.dumps(NETWORK).encode())[0] == 201
    assert scene.call("GET", target)[0] == 200
    body = json.dumps(container_body(CLOSED, ISOLATED)).encode()
    target = f"/v1.41/containers/create?name=vram-guard-{parts.RUN}-closed"
    status, answer = scene.call("POST", target, body)
    assert status == 201, answer
    return str(json.loads(answer)["Id"])


def test_a_key_arrives_in_a_container_of_ours(scene: Scene, closed: str) -> None:
    target = f"/v1.41/containers/{closed}/archive?path={KEY_DIR}"
    status, answer = scene.call("PUT", target, key_archive(KEY))
    assert status == 200, answer
    with closing(docker.APIClient(base_url=scene.engine, version="auto")) as client:
        packed, told = client.get_archive(closed, f"{KEY_DIR}/key")
        assert KEY.encode() in b"".join(packed)
    assert told["mode"] & 0o777 == 0o400


HOSTILE_ARCHIVES = {
    "two files": key_archive(KEY)[:1024] + key_archive(KEY),
    "a longer one": key_archive(KEY) + bytes(8192),
    "not a key": key_archive("/bin/sh -c true " + "x" * 30),
    "a second line": key_archive("k" * 40 + "\n" + "k" * 40),
    "nothing": key_archive(""),
    "no archive": b"x" * 2048,
    "JSON": b"{}",
}


@pytest.mark.parametrize("archive", HOSTILE_ARCHIVES.values(), ids=HOSTILE_ARCHIVES)
def test_nothing_but_a_key_is_put_into_a_container(
    scene: Scene, closed: str, archive: bytes
) -> None:
    target = f"/v1.41/containers/{closed}/archive?path={KEY_DIR}"
    assert scene.call("PUT", target, archive)[0] == 403


def test_names_modes_and_owners_of_the_archive_are_the_guards(scene: Scene, closed: str) -> None:
    """Of what is sent the key alone arrives: here it calls itself a link that leads out."""
    sent = bytearray(key_archive(KEY))
    sent[:9] = b"../../etc"
    sent[100:108] = b"0004777\0"
    sent[156:157] = b"2"
    target = f"/v1.41/containers/{closed}/archive?path={KEY_DIR}"
    status, answer = scene.call("PUT", target, bytes(sent))
    assert status == 200, answer
    with closing(docker.APIClient(base_url=scene.engine, version="auto")) as client:
        _, told = client.get_archive(closed, f"{KEY_DIR}/key")
        with pytest.raises(docker.errors.NotFound):
            client.get_archive(closed, "/etc/etc")
    assert (told["mode"] & 0o7777, told["linkTarget"]) == (0o400, "")


@pytest.mark.parametrize(
    ("whose", "path"),
    [
        ("FOREIGN", KEY_DIR),
        ("WATCHED", KEY_DIR),
        ("OURS", "/"),
        ("OURS", "/tmp"),
        ("OURS", f"{KEY_DIR}/.."),
        ("OURS", "/run/vramXorchestrator"),
    ],
)
def test_a_key_goes_nowhere_else(scene: Scene, whose: str, path: str) -> None:
    target = f"/v1.41/containers/{whose}/archive?path={path}"
    assert scene.call("PUT", target, key_archive(KEY))[0] == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"Internal": False},
        {"Options": {}},
        {"Options": {**CLOSED_OPTIONS, "com.docker.network.bridge.name": "docker0"}},
        {"Options": {"com.docker.network.bridge.enable_icc": "true"}},
        {"Driver": "macvlan"},
        {"Name": "bridge"},
        {"Labels": {}},
        {"Attachable": True},
        {"IPAM": {"Config": [{"Subnet": "169.254.169.0/24"}]}},
        {"internal": False},
    ],
    ids=str,
)
def test_no_other_network_is_made(scene: Scene, changes: dict[str, Any]) -> None:
    body = json.dumps(NETWORK | changes).encode()
    status, answer = scene.call("POST", "/v1.41/networks/create", body)
    assert (status, b"docker-guard" in answer) == (403, True)


@pytest.mark.parametrize("name", ["bridge", "host", "none", "vram-closed-another"])
def test_networks_of_others_are_not_looked_at(scene: Scene, name: str) -> None:
    assert scene.call("GET", f"/v1.41/networks/{name}")[0] == 403


def test_a_closed_container_has_no_port_and_networks_are_not_made_where_they_are_named(
    scene: Scene,
) -> None:
    body = json.loads(json.dumps(container_body(CLOSED, ISOLATED)))
    published = [{"HostIp": "127.0.0.1", "HostPort": ""}]
    body["HostConfig"]["PortBindings"] = {"8080/tcp": published}
    target = f"/v1.41/containers/create?name=vram-guard-{parts.RUN}-published"
    assert scene.call("POST", target, json.dumps(body).encode())[0] == 403
    with parts.guard(scene.engine, GUARD_NETWORK="models-1,models-2") as url:
        there = replace(scene, guard=url)
        assert there.call("POST", "/v1.41/networks/create", json.dumps(NETWORK).encode())[0] == 403
        for network, status in (("models-2", 404), ("models-3", 403), ("bridge", 403)):
            settings = replace(ISOLATED, network=network)
            said = json.dumps(container_body(LAUNCH, settings)).encode()
            answered, answer = there.call("POST", target, said)
            made = answered == 201  # an engine may look for the network at the start alone
            assert made or answered == status, answer
            assert not made or status == 404
            if made:
                container = json.loads(answer)["Id"]
                assert there.call("DELETE", f"/v1.41/containers/{container}?force=True")[0] == 204


def test_a_models_directory_may_have_a_space_in_its_name(scene: Scene, tmp_path: Path) -> None:
    models = tmp_path / "my models"
    models.mkdir()
    body = honest().replace(MODELS.encode(), str(models).encode())
    target = "/v1.41/containers/create?name=vram-guard-space"
    with parts.guard(scene.engine, GUARD_MODELS=f" /models={models} , /other") as url:
        here = replace(scene, guard=url)
        assert here.call("POST", target, honest())[0] == 403
        status, answer = here.call("POST", target, body)
        assert status == 201, answer
        container = json.loads(answer)["Id"]
        assert here.call("DELETE", f"/v1.41/containers/{container}?force=True")[0] == 204


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"GUARD_IDENTITY": ""}, "GUARD_IDENTITY must name the orchestrator"),
        ({"GUARD_MODELS": "/models,my models"}, "GUARD_MODELS: not an absolute path: my models"),
        ({"GUARD_NETWORK": "host"}, "GUARD_NETWORK must not share"),
    ],
)
def test_it_does_not_start_with_a_setting_that_makes_no_sense(
    settings: dict[str, str], sentence: str
) -> None:
    engine = parts.need_engine()
    with pytest.raises(AssertionError) as caught, parts.guard(engine, **settings):
        pass
    assert f"docker-guard: {sentence}" in str(caught.value)
    assert "traceback" not in str(caught.value)
