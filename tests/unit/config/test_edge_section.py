import pytest
from pydantic import TypeAdapter, ValidationError

from orchestrator.config.edge_section import EdgeSettings

READ = TypeAdapter(EdgeSettings).validate_python


def test_it_listens_on_this_machine_unless_told_otherwise():
    assert (READ({}).host, READ({}).port, READ({}).workers) == ("127.0.0.1", 8080, None)


@pytest.mark.parametrize("wrong", [{"port": 0}, {"workers": 257}, {"name": "x"}, {"host": ""}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        READ(wrong)
