"""Anything at any time: loads, leases, hang-ups, pins, changes of the catalogue; kills, stops, faults.

By hand for longer, and with another seed: `make drive SECONDS=600 SEED=7`.
"""

import os

from tests.scenarios.driver import MODELS, SCHEDULING, Driver

SECONDS = float(os.getenv("DRIVE_SECONDS", "25"))
SEED = int(os.getenv("DRIVE_SEED", "1"))


def test_whatever_callers_and_the_world_do(daemons):
    daemon = daemons(MODELS, scheduling=SCHEDULING)
    driver = Driver(daemon, SEED)
    driver.drive(SECONDS)
    assert not driver.findings, (driver.findings, [*driver.done], daemon.log()[-4000:])
    driver.check()
