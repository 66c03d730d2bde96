import pytest

from tests.standins.memory import MemoryRegistry
from tests.unit.web.office import Office

ROOM = {"vram_mb": "8192", "owner": "comfyui", "ttl_seconds": 600}


def test_room_is_leased_renewed_listed_and_given_back(office):
    answer = office.asked("POST", "/vram/leases", json=ROOM)
    assert answer.status_code == 201
    lease = answer.json()
    path = f"/vram/leases/{lease['lease_id']}"
    assert lease == {
        "lease_id": lease["lease_id"],
        "vram_mb": 8192,
        "device": "fake-0",
        "owner": "comfyui",
        "expires_at": "2026-01-15T10:40:00.000Z",
        "evicted": [],
    }
    assert answer.headers["Location"] == path

    (listed,) = office.asked("GET", "/vram/leases").json()["leases"]
    assert (listed["lease_id"], listed["vram_mb"]) == (lease["lease_id"], 8192)

    renewed = office.asked("PUT", path, json={"ttl_seconds": 1200})
    assert renewed.json()["expires_at"] == "2026-01-15T10:50:00.000Z"

    assert office.asked("DELETE", path).status_code == 204
    assert office.asked("DELETE", path).status_code == 204
    assert office.asked("GET", "/vram/leases").json() == {"leases": []}


@pytest.mark.parametrize(
    "change",
    [
        {"vram_mb": 0},
        {"vram_mb": -5},
        {"vram_mb": 1 << 40},
        {"vram_mb": True},
        {"ttl_seconds": None},
        {"ttl_seconds": 1e9},
        {"owner": None},
        {"device": ""},
    ],
)
def test_room_that_makes_no_sense(office, change):
    assert office.asked("POST", "/vram/leases", json=ROOM | change).status_code == 422


def test_room_that_never_fits(office):
    answer = office.asked("POST", "/vram/leases", json=ROOM | {"vram_mb": 99_000})
    assert (answer.status_code, answer.json()["needed_mb"]) == (507, 99_000)


def test_room_that_is_held_is_refused_when_the_caller_has_waited(office):
    office.asked("POST", "/vram/leases", json=ROOM | {"vram_mb": 30_000})
    answer = office.asked("POST", "/vram/leases", json=ROOM | {"wait": 5})
    assert (answer.status_code, answer.json()["code"]) == (503, "no_room")


def test_ended_lease_cannot_be_renewed(office):
    answer = office.asked("PUT", "/vram/leases/gone", json={"ttl_seconds": 5})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_lease_of_a_model_is_its_owners(office):
    body = {"model": "a", "owner": "w", "lease_seconds": 60}
    office.asked("POST", "/models/load", json=body)
    (lease,) = office.asked("GET", "/leases").json()["leases"]
    assert (lease["model"], lease["owner"], lease["kind"]) == ("a", "w", "owner")
    path = f"/leases/{lease['lease_id']}"
    renewed = office.asked("PUT", path, json={"lease_seconds": "120"})
    assert renewed.json()["expires_at"] == "2026-01-15T10:32:00.000Z"
    assert office.asked("DELETE", path).status_code == 204
    assert office.desk.snapshot().leases == ()


def test_room_for_a_caller_that_has_left_is_not_leased(office):
    """The caller goes while its wish waits: the wish is withdrawn, nothing stays leased."""
    office.asked("POST", "/vram/leases", json=ROOM | {"vram_mb": 30_000})
    office.leave_after_asking("/vram/leases", b'{"vram_mb":9000,"owner":"x","ttl_seconds":900}')
    assert office.desk.snapshot().queue == ()
    office.pass_s(700)
    assert office.desk.snapshot().leases == ()


class Full(MemoryRegistry):
    async def change(self, table, key, value):
        return False


def test_what_the_disk_has_not_taken_is_said_in_every_answer_that_promises_it(tmp_path):
    """`durable: false`, where a 204 has no body too; an answer without it is on the disk."""
    with Office(tmp_path, registry=Full()) as office:
        room = office.asked("POST", "/vram/leases", json=ROOM)
        load = office.asked("POST", "/models/load", json={"model": "a", "owner": "w"})
        path = f"/vram/leases/{room.json()['lease_id']}"
        answers = [
            (201, room),
            (200, load),
            (200, office.asked("PUT", path, json={"ttl_seconds": 1200})),
            (200, office.asked("DELETE", path)),
            (200, office.asked("PUT", "/models/a/pin")),
            (200, office.asked("DELETE", "/models/a/pin")),
            (200, office.asked("DELETE", f"/leases/{load.json()['lease_id']}")),
        ]
        assert [each.status_code for _, each in answers] == [status for status, _ in answers]
        assert {each.json()["durable"] for _, each in answers} == {False}
        plain = office.asked("POST", "/models/load", json={"model": "a"})
        assert "durable" not in plain.json(), "nothing of it outlives a restart"
