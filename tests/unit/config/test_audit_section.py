import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.config.audit_section import AuditSettings

READ = TypeAdapter(AuditSettings).validate_python


def test_the_environment_decides_unless_it_is_said():
    assert READ({}).enabled is None
    assert READ({"enabled": False}).enabled is False


@pytest.mark.parametrize("wrong", [{"file_mb": 0}, {"files": 1}, {"keep": True}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        READ(wrong)
