import pytest

from orchestrator.config.audit import audit_mistakes, settled_audit
from orchestrator.config.audit_section import AuditSettings


@pytest.mark.parametrize(
    ("file", "environment", "enabled"),
    [
        (None, None, True),
        (None, "", True),
        (None, "true", True),
        (None, "False", False),
        (None, "0", False),
        (True, "false", True),
        (False, "true", False),
        (None, "perhaps", True),
    ],
)
def test_the_file_wins_over_the_environment(file, environment, enabled):
    environ = {} if environment is None else {"SECURITY_AUDIT_ENABLED": environment}
    assert settled_audit(AuditSettings(enabled=file), environ).enabled is enabled


def test_a_word_that_is_none_is_a_mistake_where_it_counts():
    environ = {"SECURITY_AUDIT_ENABLED": "perhaps"}
    (mistake,) = audit_mistakes(AuditSettings(), environ)
    assert "SECURITY_AUDIT_ENABLED" in mistake.sentence
    assert not list(audit_mistakes(AuditSettings(enabled=True), environ))
    assert not list(audit_mistakes(AuditSettings(), {"SECURITY_AUDIT_ENABLED": "off"}))
