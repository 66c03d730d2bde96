"""Acts on their way to the disk, with a disk that fails and hangs as the test says."""

import asyncio
import functools
import json
import threading

import pytest

from orchestrator.access.audit import log as audit_log
from orchestrator.access.audit.chain import CURRENT, verify
from orchestrator.access.audit.files import AuditFile
from orchestrator.access.audit.lines import Act
from orchestrator.access.audit.log import AuditLog, NoAudit
from orchestrator.access.caller import Caller, Via
from orchestrator.errors import AuditUnavailable
from tests.asynchronous import eventually, run


def asynchronous(test):
    """In a loop of its own."""

    @functools.wraps(test)
    def running(*fixtures, **named):
        run(test(*fixtures, **named))

    return running


CALLER = Caller(address="10.0.0.7", via=Via.HTTP)


def act(target, action="model.unload"):
    return Act(action=action, caller=CALLER, target=target)


class Disk(AuditFile):
    """Refuses while `refuses`, hangs while `hangs` is cleared."""

    def __init__(self, folder):
        super().__init__(folder, bytes_max=10 << 20, files_max=10)
        self.refuses = False
        self.hangs = threading.Event()
        self.hangs.set()
        self.synced = []

    def write(self, acts, *, sync):
        self.hangs.wait(20)
        if self.refuses:
            raise OSError(28, "No space left on device")
        self.synced.append((sync, [dated.act.target for dated in acts]))
        return super().write(acts, sync=sync)


def told(folder):
    rows = (folder / CURRENT).read_text().splitlines()
    return [(row["action"], row["target"], row["outcome"]) for row in map(json.loads, rows)]


@asynchronous
async def test_what_an_admin_does_is_on_the_disk_before_it_is_performed(tmp_path):
    disk = Disk(tmp_path)
    log = AuditLog(disk)
    log.note(act("a"))
    assert await log.durable(act("b")) == 2
    assert disk.synced[-1][0], "with fsync"
    assert told(tmp_path)[-1] == ("model.unload", "b", "granted")
    assert str(log.head) == str(verify(tmp_path).head)
    await log.close()
    assert told(tmp_path)[-1][0] == "daemon.stop"


@asynchronous
async def test_what_is_no_admins_does_not_wait_for_the_disk(tmp_path):
    disk = Disk(tmp_path)
    log = AuditLog(disk)
    disk.hangs.clear()
    try:
        for number in range(1000):
            log.note(act(f"m{number}"))
        assert not (tmp_path / CURRENT).exists()
    finally:
        disk.hangs.set()
    await log.settled()
    assert verify(tmp_path).head.seq == 1000
    assert not any(sync for sync, _ in disk.synced)
    await log.close()


@asynchronous
async def test_a_full_disk_refuses_admins_and_loses_nothing_that_happened(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_log, "RETRY_S", 0.01)
    disk = Disk(tmp_path)
    log = AuditLog(disk)
    log.note(act("before"))
    await log.settled()
    disk.refuses = True
    log.note(act("during"))
    with pytest.raises(AuditUnavailable, match="No space left"):
        await log.durable(act("refused"))
    with pytest.raises(AuditUnavailable, match="No space left"):
        await log.durable(act("refused too"))
    assert log.problem is not None
    disk.refuses = False
    await eventually(lambda: log.problem is None)
    await log.durable(act("after"))
    assert [target for _, target, _ in told(tmp_path)] == ["before", "during", "after"]
    verify(tmp_path)
    await log.close()


@asynchronous
async def test_more_than_is_kept_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_log, "WAITING_MAX", 5)
    disk = Disk(tmp_path)
    log = AuditLog(disk)
    disk.hangs.clear()
    try:
        log.note(act("first"))
        await asyncio.sleep(0)
        for number in range(8):
            log.note(act(f"m{number}"))
    finally:
        disk.hangs.set()
    await log.settled()
    rows = [json.loads(row) for row in (tmp_path / CURRENT).read_text().splitlines()]
    (lost,) = [row for row in rows if row["action"] == "audit.lost"]
    assert lost["numbers"]["lines"] + len(rows) - 1 == 9
    await log.close()


@asynchronous
async def test_an_act_that_was_written_too_late_was_not_performed_and_that_is_said(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(audit_log, "DURABLE_S", 0.05)
    disk = Disk(tmp_path)
    log = AuditLog(disk)
    disk.hangs.clear()
    try:
        with pytest.raises(AuditUnavailable, match="has not answered"):
            await log.durable(act("late"))
    finally:
        disk.hangs.set()
    await log.settled()
    rows = [json.loads(row) for row in (tmp_path / CURRENT).read_text().splitlines()]
    assert [(row["outcome"], row["code"], row.get("of")) for row in rows] == [
        ("granted", None, None),
        ("refused", "audit_unavailable", 1),
    ]
    await log.close()


@asynchronous
async def test_a_caller_who_leaves_meanwhile_had_nothing_performed(tmp_path):
    disk = Disk(tmp_path)
    log = AuditLog(disk)
    disk.hangs.clear()
    try:
        waiting = asyncio.create_task(log.durable(act("left")))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait({waiting})
    finally:
        disk.hangs.set()
    await log.settled()
    rows = [json.loads(row) for row in (tmp_path / CURRENT).read_text().splitlines()]
    assert (rows[1]["code"], rows[1]["of"]) == ("caller_gone", 1)
    await log.close()


@asynchronous
async def test_a_daemon_begins_with_a_line_also_where_it_cannot(tmp_path):
    log = await AuditLog.open(tmp_path, bytes_max=1 << 20, files_max=2)
    assert told(tmp_path) == [("daemon.start", None, "granted")]
    await log.close()
    (tmp_path / "none").write_text("")
    broken = await AuditLog.open(tmp_path / "none", bytes_max=1 << 20, files_max=2)
    assert broken.problem is not None
    with pytest.raises(AuditUnavailable):
        await broken.durable(act("x"))
    await broken.close()


@asynchronous
async def test_the_head_is_told_once_a_minute_where_it_has_moved(tmp_path, caplog):
    caplog.set_level("INFO")
    log = await AuditLog.open(tmp_path, bytes_max=1 << 20, files_max=2)
    log.tell_head(100)
    log.note(act("x"))
    await log.settled()
    log.tell_head(110)
    log.tell_head(170)
    log.tell_head(300)
    heads = [line for line in caplog.messages if line.startswith("audit head")]
    assert heads[0].startswith("audit head 1:")
    assert heads[1:] == [f"audit head {log.head}"]
    await log.close()


@asynchronous
async def test_without_a_log_nothing_is_refused():
    none = NoAudit()
    none.note(act("x"))
    assert await none.durable(act("x")) is None
    assert (none.head, none.problem) == (None, None)
