"""The operator's file, read once into a frozen Config. Nothing else reads the environment."""

from orchestrator.config.loading import (
    DEFAULT_CONFIG,
    EXAMPLE_CONFIG,
    Config,
    Overrides,
    config_schema,
    load_config,
    load_services,
    parse_model,
)
from orchestrator.config.models import Estimate

__all__ = [
    "DEFAULT_CONFIG",
    "EXAMPLE_CONFIG",
    "Config",
    "Estimate",
    "Overrides",
    "config_schema",
    "load_config",
    "load_services",
    "parse_model",
]
