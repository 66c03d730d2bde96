from dataclasses import replace

import pytest

from orchestrator.access.caller import Caller, Via
from orchestrator.access.keys.record import KeyScope
from orchestrator.access.rights import EVERYTHING, Rights
from orchestrator.core.values.leases import LeaseId
from orchestrator.orders import RoomOrder
from tests.unit.access.keys.samples import key
from tests.unit.web.office import Office

MINE = Rights(caller=Caller(via=Via.HTTP), key=key(KeyScope.LEASE))
OTHER = replace(MINE, key=key(KeyScope.LEASE, id="other123"))
ADMIN = replace(MINE, key=key(KeyScope.ADMIN, id="admin123"))


@pytest.fixture
def office(tmp_path):
    with Office(tmp_path) as office:
        yield office


def lease(office, rights, owner="comfy ui!"):
    order = RoomOrder(vram_mb=100, owner=owner, lease_s=60.0)
    return office.run(office.desk.lease_room(order, rights)).lease


def held(office):
    return {lease.id for lease in office.desk.snapshot().leases}


def test_room_has_a_name_that_people_read(office):
    assert lease(office, EVERYTHING).model.startswith("lease-comfy-ui-")


def test_lease_of_another_is_neither_renewed_nor_ended(office):
    there = lease(office, MINE)
    assert there.key == "abcd1234"
    with pytest.raises(KeyError):
        office.run(office.desk.renew_lease(there.id, 60.0, OTHER))
    office.run(office.desk.release_lease(there.id, OTHER))
    assert held(office) == {there.id}
    office.run(office.desk.renew_lease(there.id, 60.0, MINE))
    office.run(office.desk.release_lease(there.id, ADMIN))
    assert held(office) == set()


def test_giving_back_what_has_ended_is_no_error(office):
    assert office.run(office.desk.release_lease(LeaseId("gone"), MINE))
