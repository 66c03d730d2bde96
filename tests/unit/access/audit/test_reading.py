import pytest

from orchestrator.access.audit import reading
from orchestrator.access.audit.chain import CURRENT
from orchestrator.access.audit.files import AuditFile, Dated
from orchestrator.access.audit.lines import Act, ActOutcome
from orchestrator.access.audit.reading import Sought, look
from orchestrator.access.caller import Caller, Via


@pytest.fixture
def folder(tmp_path):
    """Sixty lines in several files, by two callers."""
    file = AuditFile(tmp_path, bytes_max=3000, files_max=100)
    for number in range(30):
        for address, outcome in (
            ("10.0.0.1", ActOutcome.GRANTED),
            ("10.0.0.2", ActOutcome.REFUSED),
        ):
            caller = Caller(address=address, key=f"k{address[-1]}", via=Via.HTTP)
            action = "model.load" if number % 2 else "lease.renew"
            act = Act(action=action, caller=caller, target=f"m{number}", outcome=outcome)
            file.write([Dated("now", act)], sync=False)
    return tmp_path


def all_of(folder, **sought):
    """Page by page."""
    found, before = [], None
    while True:
        seen = look(folder, Sought(before=before, limit=7, **sought))
        found += seen.lines
        if seen.next_before is None:
            return found
        before = seen.next_before


def test_newest_first_over_all_files_with_nothing_twice(folder):
    numbers = [line["seq"] for line in all_of(folder)]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == len(numbers) == numbers[0]


@pytest.mark.parametrize(
    ("sought", "count"),
    [
        ({"address": "10.0.0.1"}, 30),
        ({"key": "k2"}, 30),
        ({"outcome": "refused", "action": "model.load"}, 15),
        ({"action": "model"}, 30),
        ({"action": "mod"}, 0),
        ({"target": "m3"}, 2),
    ],
)
def test_filters(folder, sought, count):
    assert len(all_of(folder, **sought)) == count


def test_no_answer_looks_at_more_than_is_cheap(folder, monkeypatch):
    monkeypatch.setattr(reading, "LOOKED_AT_MAX", 10)
    seen = look(folder, Sought(target="m0"))
    assert seen.lines == ()
    assert seen.next_before is not None
    assert len(all_of(folder, target="m0")) == 2


def test_what_is_no_line_is_passed_over(folder):
    with (folder / CURRENT).open("a") as file:
        file.write("what?\n[]\ntorn")
    assert len(look(folder, Sought(limit=3)).lines) == 3


def test_nothing_written_yet(tmp_path):
    assert look(tmp_path, Sought()) == reading.Seen((), None)
