import json
import os
import subprocess
import sys

import pytest

from orchestrator.core.values.vram import MiB
from orchestrator.stand_in.claims import (
    ACCOUNT_FILE,
    AccountLocked,
    Claim,
    ClaimRefused,
    Claims,
    FakeAccount,
    FakeDeviceState,
    Fault,
    account_lock,
    decode_account,
    encode_account,
    process_started,
    read_account,
    write_account,
)


@pytest.fixture
def directory(tmp_path):
    devices = {
        "fake-0": FakeDeviceState(total_bytes=1000 * MiB, foreign_bytes=100 * MiB),
        "fake-1": FakeDeviceState(total_bytes=500 * MiB),
    }
    write_account(tmp_path, FakeAccount(devices=devices))
    return tmp_path


def other(started=1, **bytes_by_device):
    """The claim of some other process."""
    named = {name.replace("_", "-"): size for name, size in bytes_by_device.items()}
    return Claim(pid=4_000_000, started=started, bytes_by_device=named)


def put_claims(directory, *claims):
    account = read_account(directory)
    write_account(directory, FakeAccount(devices=account.devices, claims=claims))


def held(directory, device):
    return read_account(directory).held_bytes(device)


def test_a_claim_is_written_down_with_its_process(directory):
    Claims(directory).claim("fake-0", 300 * MiB)
    (claim,) = read_account(directory).claims
    assert (claim.pid, claim.started) == (os.getpid(), process_started(os.getpid()))
    assert claim.alive
    assert claim.on("fake-0") == 300 * MiB
    assert held(directory, "fake-0") == 400 * MiB


def test_a_later_claim_replaces_the_earlier_one_on_that_device_only(directory):
    claims = Claims(directory)
    claims.claim("fake-1", 200 * MiB)
    claims.claim("fake-0", 300 * MiB)
    Claims(directory).claim("fake-0", 50 * MiB)
    (claim,) = read_account(directory).claims
    assert claim.bytes_by_device == {"fake-0": 50 * MiB, "fake-1": 200 * MiB}


def test_a_full_device_refuses_and_says_what_is_missing(directory):
    put_claims(directory, other(fake_0=500 * MiB))
    claims = Claims(directory)
    claims.claim("fake-0", 400 * MiB)
    with pytest.raises(ClaimRefused) as refused:
        claims.claim("fake-0", 450 * MiB)
    assert refused.value.missing_bytes == 50 * MiB
    assert held(directory, "fake-0") == 1000 * MiB  # what was held stays held


def test_a_dead_process_that_lags_still_fills_the_device(directory):
    dead = other(fake_0=900 * MiB)
    put_claims(directory, Claim(**{**fields(dead), "gone_s": 5.0}))
    with pytest.raises(ClaimRefused):
        Claims(directory).claim("fake-0", 1)


def fields(claim):
    return {name: getattr(claim, name) for name in Claim.__slots__}


def test_giving_back_is_never_refused(directory):
    claims = Claims(directory)
    claims.claim("fake-0", 900 * MiB)
    put_claims(directory, *read_account(directory).claims, other(fake_0=500 * MiB))
    claims.claim("fake-0", 600 * MiB)
    assert held(directory, "fake-0") == 1200 * MiB


def test_unknown_device_and_negative_claims_are_refused(directory):
    with pytest.raises(KeyError):
        Claims(directory).claim("fake-7", 1)
    with pytest.raises(ValueError, match="negative"):
        Claims(directory).claim("fake-0", -1)


def test_processes_that_claim_at_once_never_overfill_the_device(directory):
    """Eight of them want 90 MiB more, ten times; 900 MiB are there."""
    script = (
        "import sys; from pathlib import Path;"
        "from orchestrator.stand_in.claims import Claims, ClaimRefused;"
        "claims, held = Claims(Path(sys.argv[1])), 0\n"
        "for _ in range(10):\n"
        "    try: claims.claim('fake-0', held + 90 * 2**20)\n"
        "    except ClaimRefused: continue\n"
        "    held += 90 * 2**20\n"
        "print(held // 2**20)"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(directory)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    granted_mb = sum(int(racer.communicate()[0]) for racer in racers)
    assert granted_mb == 900
    assert held(directory, "fake-0") == 1000 * MiB


def test_lock_is_given_up_on_when_its_holder_does_not_let_go(directory):
    with (
        account_lock(directory),
        pytest.raises(AccountLocked, match="stopped"),
        account_lock(directory, wait_s=0.0),
    ):
        pass
    with account_lock(directory, wait_s=0.0):
        pass


def test_pids_that_are_used_again_are_told_apart():
    started = process_started(os.getpid())
    mine = Claim(pid=os.getpid(), started=started, bytes_by_device={})
    earlier = Claim(pid=os.getpid(), started=started - 1, bytes_by_device={})
    assert (mine.alive, earlier.alive) == (True, False)


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    child.stdout.read()
    child.stdout.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped
    assert process_started(child.pid) is None
    child.wait()


def test_account_survives_being_written_down():
    account = FakeAccount(
        devices={"fake-0": FakeDeviceState(total_bytes=5, foreign_bytes=2, fault=Fault.LOST)},
        claims=(other(fake_0=3), Claim(pid=1, started=2, bytes_by_device={}, gone_s=7.5)),
    )
    assert decode_account(encode_account(account)) == account


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 1}', '{"version": 9}', "null"])
def test_file_that_is_no_account_is_refused(directory, text):
    (directory / ACCOUNT_FILE).write_text(text)
    with pytest.raises(ValueError):
        read_account(directory)


def test_account_that_nobody_wrote_is_empty(tmp_path):
    assert read_account(tmp_path) == FakeAccount()
    assert json.loads(encode_account(FakeAccount())) == {"version": 1, "devices": {}, "claims": []}
