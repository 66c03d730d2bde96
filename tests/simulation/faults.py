"""What can go wrong in a day, by name. Each day has its own mix, drawn from its seed.

A fault is a named point in the fakes of the simulation: it is on for the whole day or off, and
where it is on it fires by chance. So most days know only some troubles, and those they know come
often enough to meet each other.
"""

import random
from enum import StrEnum

FAULT_ON = 1 / 3  # of all days
DULL_DAY = 10  # every so many days nothing goes wrong at all


class Fault(StrEnum):
    # of servers
    START_FAILS = "start_fails"
    START_SLOW = "start_slow"
    RUNS_OUT = "runs_out"  # of memory, while it starts
    TAKES_MORE = "takes_more"  # than it was promised
    TAKES_NOTHING = "takes_nothing"  # as one that found no GPU
    NEVER_READY = "never_ready"
    DIES = "dies"
    KILLED = "killed"  # by somebody at the machine
    STARTED_AGAIN = "started_again"  # after its end, by somebody at the machine
    HANGS = "hangs"  # it answers nothing for a while
    STOP_SLOW = "stop_slow"
    STOP_FAILS = "stop_fails"
    STOP_HANGS = "stop_hangs"
    # of files
    FILE_MISSING = "file_missing"
    # of devices and their driver
    BYTES_LATE = "bytes_late"
    BYTES_TAKEN = "bytes_taken"  # others take what a stopped model gives back
    FOREIGN = "foreign"
    DRIVER_HIDES = "driver_hides"  # whose bytes they are
    DRIVER_SLOW = "driver_slow"
    DEVICE_AWAY = "device_away"
    # of what servers run on
    RUNTIME_SILENT = "runtime_silent"
    RUNTIME_STUMBLES = "runtime_stumbles"  # one call is not answered
    PIDS_HANG = "pids_hang"
    # of the daemon and its disk
    CRASH = "crash"
    RESTART = "restart"
    STANDSTILL = "standstill"  # the machine sleeps
    DISK_SLOW = "disk_slow"
    DISK_LOSES = "disk_loses"  # a row is not there after a restart
    # of callers
    CALLER_LEAVES = "caller_leaves"
    CALLER_LEAVES_AT_GRANT = "caller_leaves_at_grant"


# How often a fault that is on happens, of the occasions that there are.
RATES = {
    Fault.TAKES_MORE: 0.5,
    Fault.TAKES_NOTHING: 0.2,
    Fault.START_SLOW: 0.2,
    Fault.STOP_SLOW: 0.2,
    Fault.RUNTIME_STUMBLES: 0.03,
    Fault.PIDS_HANG: 0.05,
    Fault.DISK_SLOW: 0.3,
    Fault.DISK_LOSES: 0.1,
    Fault.DRIVER_SLOW: 0.05,
    Fault.CALLER_LEAVES: 0.2,
    Fault.CALLER_LEAVES_AT_GRANT: 0.1,
    Fault.BYTES_TAKEN: 0.3,
}


def faults_of(seed: int) -> frozenset[Fault]:
    if seed % DULL_DAY == 0:
        return frozenset()
    rng = random.Random(f"{seed}/faults")
    return frozenset(fault for fault in Fault if rng.random() < FAULT_ON)
