"""Whether the audit log is kept: the file's word, else the environment's, else yes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from orchestrator.config.audit_section import AuditSettings
from orchestrator.config.yaml_lines import Mistake

VARIABLE = "SECURITY_AUDIT_ENABLED"
_WORDS = {"true": True, "1": True, "yes": True, "on": True}
_WORDS |= {"false": False, "0": False, "no": False, "off": False}


def settled_audit(audit: AuditSettings, environ: Mapping[str, str]) -> AuditSettings:
    """With `enabled` decided; a word of the environment that is none counts as yes."""
    if audit.enabled is not None:
        return audit
    said = environ.get(VARIABLE, "").strip().lower()
    return replace(audit, enabled=_WORDS.get(said, True))


def audit_mistakes(audit: AuditSettings, environ: Mapping[str, str]) -> Iterator[Mistake]:
    said = environ.get(VARIABLE, "").strip()
    if audit.enabled is None and said and said.lower() not in _WORDS:
        yield Mistake(("audit",), f"{VARIABLE} of the environment is neither true nor false")
