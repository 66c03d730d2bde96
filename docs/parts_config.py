"""The configuration reference: keys, types, defaults and bounds from the file's own schema."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

from docs.schema_words import Schema, code, default_words, resolved, table, type_words
from docs.sentences import sentence
from orchestrator.config.engines import KINDS
from orchestrator.config.loading import EXAMPLE_CONFIG, config_schema
from orchestrator.config.profiles import PROFILES

# Sections of the file, and the page's heading that describes each.
SECTIONS: Mapping[str, str] = {
    "ServerSettings": "server",
    "GatewaySettings": "gateway",
    "EdgeSettings": "edge",
    "WebhookSettings": "webhooks",
    "DeviceSettings": "devices",
    "DiscoverySettings": "discovery",
    "FakeDeviceEntry": "devicesfake",
    "SchedulingSettings": "scheduling",
    "ServiceEntry": "services",
    "ModelEntry": "models",
    "ExpectedSpeeds": "modelsexpected",
    "ScaledAdapter": "modelslora",
    "FakeBehaviour": "modelsfake",
}
NAMES = {
    "devicesfake": "devices.fake",
    "modelsexpected": "models.expected",
    "modelslora": "models.lora",
    "modelsfake": "models.fake",
}


def parts() -> Mapping[str, Callable[[], str]]:
    made: dict[str, Callable[[], str]] = {
        "config document": lambda: keys_of(_schema()),
        "config engines": _engines,
        "config profiles": _profiles,
        "config example": _example,
    }
    for name, anchor in SECTIONS.items():
        section = NAMES.get(anchor, anchor)
        made[f"config {section}"] = lambda name=name: keys_of(_schema()["$defs"][name], name)
    return made


@cache
def _schema() -> dict[str, Any]:
    return cast("dict[str, Any]", config_schema())


def keys_of(schema: Schema, section: str = "Document") -> str:
    definitions = _schema()["$defs"]
    required = schema.get("required", ())
    rows = []
    for key, each in schema["properties"].items():
        whole = resolved(each, definitions)
        default = default_words(whole, required=key in required)
        if whole.get("type") == "object" and "default" not in whole:
            default = "see there" if "properties" in whole else "`{}`"
        rows.append((code(key), _values(each), default, _means(section, key, each)))
    return table(("Key", "Values", "Default", "Meaning"), rows)


def _values(schema: Schema) -> str:
    linked = {name: f"#{anchor}" for name, anchor in SECTIONS.items()}
    words = type_words(schema, _schema()["$defs"], linked)
    for name, anchor in SECTIONS.items():
        words = words.replace(f"[{name}]", f"[{NAMES.get(anchor, anchor)}]")
    return words


def _means(section: str, key: str, schema: Schema) -> str:
    """In the schema, as editors show it; of the stand-in's keys, in our own sentences."""
    said = schema.get("description")
    return str(said) if said else sentence("keys", f"{section}.{key}")


def _engines() -> str:
    rows = (
        (
            code(kind.name),
            ", ".join(code(runtime) for runtime in kind.runtimes),
            kind.about,
        )
        for kind in KINDS.values()
    )
    return table(("Engine", "Runtimes", "What it is"), rows)


def _profiles() -> str:
    rows = (
        (code(name), str(p.threads), str(p.batch), str(p.context_size), str(p.max_tokens))
        for name, p in PROFILES.items()
    )
    return table(("Profile", "`threads`", "`batch`", "`context_size`", "`max_tokens`"), rows)


def _example() -> str:
    return f"```yaml\n{EXAMPLE_CONFIG.read_text().strip()}\n```"
