"""Injects the faults of the table and prints what came of them: `make faults`.

python -m tests.faults [--always] [NAME …]
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.faults.table import TABLE, InjectedFault

ROOT = Path(__file__).parents[2]
FEWER_DAYS = "not more_seeds"  # of the simulation: `make simulate` lives through the others
XUNIT1 = ("-o", "junit_family=xunit1")  # which says the files
Outcomes = Mapping[str, str]  # of cases, by their ids


def main(arguments: Sequence[str] | None = None) -> int:
    """1 where a fault was not survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="else all of them")
    parser.add_argument("--always", action="store_true", help="those that CI must run, alone")
    words = parser.parse_args(arguments)
    faults = [
        fault
        for fault in TABLE
        if fault.name in (words.names or [fault.name]) and (fault.always or not words.always)
    ]
    outcomes = injected(faults)
    sys.stdout.write(shown(faults, outcomes))
    return 1 if "lost" in outcomes.values() else 0


def injected(faults: Iterable[InjectedFault]) -> Outcomes:
    """Every test once, however many faults it stands for."""
    ids = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        said = ("-q", "-n0", "-m", FEWER_DAYS, f"--junitxml={report}", *XUNIT1)
        subprocess.run([sys.executable, "-m", "pytest", *said, *ids], cwd=ROOT, check=False)
        return read(report.read_text())


def read(report: str) -> Outcomes:
    """What became of each case of a report in JUnit's form."""
    found = {}
    for case in ET.fromstring(report).iter("testcase"):
        name = f"{case.get('file')}::{case.get('name')}"
        kinds = {child.tag for child in case}
        lost = kinds & {"failure", "error"}
        found[name] = "lost" if lost else "left out" if "skipped" in kinds else "survived"
    return found


def of_fault(fault: InjectedFault, outcomes: Outcomes) -> Counter[str]:
    return Counter(
        outcome
        for case, outcome in outcomes.items()
        if any(belongs(case, test) for test in fault.tests)
    )


def belongs(case: str, test: str) -> bool:
    file, _, name = test.partition("::")
    its_file, _, its_name = case.partition("::")
    if its_file != file and not its_file.startswith(f"{file}/"):
        return False
    return not name or its_name.partition("[")[0] == name


def shown(faults: Iterable[InjectedFault], outcomes: Outcomes) -> str:
    rows = [f"{'':3}{'fault':24}{'injected':>9}{'survived':>9}{'left out':>9}{'lost':>6}"]
    together: Counter[str] = Counter()
    for fault in faults:
        counts = of_fault(fault, outcomes)
        rows.append(_row(f"{fault.number:<3}{fault.name:24}", counts))
        together += counts
    rows.append(_row(f"{'':3}{'together':24}", together))
    return "\n".join(["", *rows, ""])


def _row(head: str, counts: Counter[str]) -> str:
    tried = counts["survived"] + counts["lost"]
    return f"{head}{tried:9}{counts['survived']:9}{counts['left out']:9}{counts['lost']:6}"


if __name__ == "__main__":
    sys.exit(main())
