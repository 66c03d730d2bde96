import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from orchestrator.access.audit.chain import CURRENT
from orchestrator.access.audit.log import NoAudit
from orchestrator.conductor.history import Decided, Gap, History
from orchestrator.config.audit_section import AuditSettings
from orchestrator.config.loading import load_config
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.specs import ModelName
from orchestrator.daemon.audit_trail import act_of, audit_of
from orchestrator.records import DecisionRecord
from tests.asynchronous import eventually, run


def decided(kind, number=7, key=None):
    decision = Decide(kind=kind, text="why and what", model=ModelName("a"), key=key)
    return DecisionRecord(id=number, at=datetime.now(UTC), decision=decision)


@pytest.fixture
def config(tmp_path):
    """Of a daemon whose state directory is there."""
    (tmp_path / "o.yaml").write_text("state_dir: .\n")
    return load_config(tmp_path / "o.yaml", environ={})


def test_what_the_daemon_decides_is_told(config):
    async def scene():
        history = History(epoch="e")
        async with audit_of(config, history) as audit:
            history.publish(decided(DecisionKind.EVICT, key="k3v9x2mq"))
            history.publish(decided(DecisionKind.LEARN, 8))
            await eventually(lambda: audit.head.seq == 2)

    run(scene())
    rows = [json.loads(row) for row in (config.state_dir / CURRENT).read_text().splitlines()]
    assert [row["action"] for row in rows] == ["daemon.start", "resident.evict", "daemon.stop"]
    assert (rows[1]["target"], rows[1]["numbers"]) == ("a", {"decision": 7})
    assert {row["actor"]["via"] for row in rows} == {"daemon"}
    assert [row["actor"]["key"] for row in rows] == [None, "k3v9x2mq", None]


def test_what_was_missed_is_said():
    missed = act_of(Gap())
    assert missed is not None
    assert missed.action == "audit.lost"
    assert act_of(Decided(1, decided(DecisionKind.LEARN))) is None


def test_an_operator_may_want_none(config):
    async def scene():
        without = replace(config, audit=AuditSettings(enabled=False))
        async with audit_of(without, History(epoch="e")) as audit:
            assert isinstance(audit, NoAudit)

    run(scene())
    assert not (config.state_dir / CURRENT).exists()
