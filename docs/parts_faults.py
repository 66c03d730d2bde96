"""The table of faults, as the tests have it."""

from collections.abc import Callable, Mapping

from docs.schema_words import table
from tests.faults.table import TABLE


def parts() -> Mapping[str, Callable[[], str]]:
    return {"faults": _faults, "faults left open": _open}


def _faults() -> str:
    rows = (
        (
            str(fault.number),
            f"`{fault.name}`",
            fault.promise,
            "yes" if fault.simulated else "",
            str(len(fault.tests)),
        )
        for fault in TABLE
    )
    return table(("", "Fault", "What holds", "Also simulated", "Tests named"), rows)


def _open() -> str:
    return "\n".join(f"- `{fault.name}`: {fault.open}" for fault in TABLE if fault.open)
