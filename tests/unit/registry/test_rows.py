from orchestrator.registry import shapes
from orchestrator.registry.rows import LeaseRow
from tests.unit.registry.records import lease, resident


def test_what_an_operator_looks_for_has_a_column():
    row = shapes.to_resident_row(resident("a"))
    assert (row.instance, row.model, row.runtime, row.state) == ("a-1", "a", "process", "ready")


def test_a_lease_names_its_resident():
    row = shapes.to_lease_row(lease("l1", "a"))
    assert isinstance(row, LeaseRow)
    assert (row.id, row.instance, row.model, row.owner) == ("l1", "a-1", "a", "n8n")
