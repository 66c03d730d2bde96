from orchestrator.core.values.specs import ModelName
from orchestrator.notify.noticing import Notice, NoticeKind
from orchestrator.notify.notifier import told
from tests.unit.web.samples import NOW_S


def test_a_notice_says_what_when_and_what_helps():
    """That it is sent, and to whom, is seen in tests/scenarios/test_webhooks.py."""
    notice = Notice(
        kind=NoticeKind.STUCK, at_s=NOW_S, text="It is.", remedy="Kill it.", model=ModelName("a")
    )
    assert told(notice) == {
        "type": "stuck",
        "at": "2026-01-15T10:30:00.000Z",
        "text": "It is.",
        "remedy": "Kill it.",
        "model": "a",
        "device": None,
    }
