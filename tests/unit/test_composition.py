"""What names the concrete drivers, and the identity they know their things by."""

from orchestrator.composition import identity_of


def test_a_state_directory_keeps_its_identity(tmp_path):
    (tmp_path / "other").mkdir()
    assert identity_of(tmp_path) == identity_of(tmp_path)
    assert identity_of(tmp_path) != identity_of(tmp_path / "other")
