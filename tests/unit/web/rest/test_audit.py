import pytest

from orchestrator.access.audit.files import AuditFile, Dated
from orchestrator.access.audit.lines import Act, Head
from orchestrator.access.audit.log import NoAudit
from orchestrator.access.caller import Caller, Via
from tests.unit.web.office import APP


class Kept(NoAudit):
    """Of which a head is known."""

    head = Head(3, "ab" * 32)


@pytest.fixture
def kept(office, monkeypatch):
    """Three lines in the state directory."""
    log = Kept()
    monkeypatch.setitem(APP.state._state, "audit", log)
    caller = Caller(address="10.0.0.7", via=Via.HTTP)
    acts = [Act(action="model.load", caller=caller, target=name) for name in "abc"]
    file = AuditFile(office.config.state_dir, bytes_max=1 << 20, files_max=2)
    file.write([Dated("now", act) for act in acts], sync=False)
    return log


def test_lines_newest_first_in_pages(office, kept):
    told = office.asked("GET", "/audit?limit=2").json()
    assert [line["target"] for line in told["lines"]] == ["c", "b"]
    assert (told["head"], told["problem"], told["next_before"]) == (str(kept.head), None, 2)
    rest = office.asked("GET", "/audit?limit=2&before=2").json()
    assert [line["target"] for line in rest["lines"]] == ["a"]
    assert rest["next_before"] is None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("target=b", "b"),
        ("action=lease", ""),
        ("outcome=granted&address=10.0.0.7", "cba"),
        ("key=k", ""),
    ],
)
def test_filters(office, kept, query, found):
    told = office.asked("GET", f"/audit?{query}").json()
    assert "".join(line["target"] for line in told["lines"]) == found


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "outcome=perhaps", "before=x"])
def test_wrong_questions(office, kept, query):
    assert office.asked("GET", f"/audit?{query}").status_code == 422


def test_where_none_is_kept(office):
    answer = office.asked("GET", "/audit")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "audit.enabled" in answer.json()["remedy"]


def test_readiness_says_what_cannot_be_written(office, kept, monkeypatch):
    monkeypatch.setattr(kept, "problem", "the audit log cannot be written", raising=False)
    answer = office.asked("GET", "/health/ready")
    assert (answer.status_code, answer.json()["reasons"]) == (200, [kept.problem])
