"""The table of faults names tests that there are, and what is made of it is as it says."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.__main__ import belongs, of_fault, read, shown
from tests.faults.table import TABLE

ROOT = Path(__file__).parents[1]
REPORT = """<testsuites><testsuite>
<testcase file="tests/a/test_x.py" name="test_one[p-1]"/>
<testcase file="tests/a/test_x.py" name="test_one[p-2]"><failure/></testcase>
<testcase file="tests/a/test_x.py" name="test_one_more"><skipped/></testcase>
</testsuite></testsuites>"""


def test_all_of_them_are_there_by_number_and_name():
    assert [fault.number for fault in TABLE] == list(range(1, 23))
    assert len({fault.name for fault in TABLE}) == len(TABLE)
    assert {fault.number for fault in TABLE if fault.always} == {1, 3, 5, 6, 7, 9}


@pytest.mark.parametrize("fault", TABLE, ids=lambda fault: fault.name)
def test_its_tests_are_there(fault):
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).exists(), test
        if name:
            defined = {
                node.name
                for node in ast.walk(ast.parse((ROOT / file).read_text()))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert name in defined, test


def test_a_report_is_counted_for_each_fault():
    outcomes = read(REPORT)
    assert sorted(outcomes.values()) == ["left out", "lost", "survived"]
    (one, *_) = TABLE
    one = type(one)(number=1, name="x", promise="", tests=("tests/a/test_x.py::test_one",))
    assert of_fault(one, outcomes) == Counter(survived=1, lost=1)
    assert shown([one], outcomes).splitlines()[2].split() == ["1", "x", "2", "1", "0", "1"]


def test_a_case_belongs_to_its_file_its_folder_and_its_name_alone():
    assert belongs("tests/a/test_x.py::test_y[1]", "tests/a/test_x.py::test_y")
    assert belongs("tests/a/test_x.py::test_y", "tests/a")
    assert not belongs("tests/a/test_x.py::test_y_z", "tests/a/test_x.py::test_y")
    assert not belongs("tests/ab/test_x.py::test_y", "tests/a")
