"""What is said of a model that has come up."""

from orchestrator.core.values.footprints import Footprint, Provenance
from orchestrator.core.values.residents import Resident


def known_as(footprint: Footprint, doubt: str) -> str:
    """Where a figure comes from, for a sentence."""
    before = " before" if doubt and footprint.provenance is Provenance.MEASURED else ""
    return f"{footprint.provenance}{before}{doubt}"


def slots_said(resident: Resident) -> str:
    """Servers that others defined divide their context as they were told, or as they like."""
    if len(resident.slots) < 2:
        return ""
    tokens = " to ".join(map(str, sorted({min(resident.slots), max(resident.slots)})))
    return f" {len(resident.slots)} requests at once, {tokens} tokens for each."


def given_up_said(resident: Resident) -> str:
    """Which of its settings were made smaller so that it fits."""
    given_up = resident.spec.given_up
    return f" It had to give up: {', '.join(given_up)}." if given_up else ""
