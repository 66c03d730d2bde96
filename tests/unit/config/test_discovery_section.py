import pytest

from orchestrator.config.discovery_section import DiscoverySettings


@pytest.mark.parametrize(
    ("settings", "on"),
    [
        (DiscoverySettings(), False),
        (DiscoverySettings(service="local"), False),
        (DiscoverySettings(folders=("/models",)), True),
        (DiscoverySettings(hugging_face=True), True),
        (DiscoverySettings(ollama=True), True),
    ],
)
def test_it_looks_where_it_is_told_to_and_else_nowhere(settings, on):
    assert settings.on is on
