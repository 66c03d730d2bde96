from pydantic import TypeAdapter

from orchestrator.config.sections import Document, ModelEntry, ServiceEntry
from orchestrator.config.validation import nearest, properties_at, shown, validate
from orchestrator.config.yaml_lines import show

DOCUMENT = TypeAdapter(Document)
MODEL = TypeAdapter(ModelEntry)
SERVICE = TypeAdapter(ServiceEntry)


def complaints(content, adapter=DOCUMENT):
    return {show(each.where): each.sentence for each in validate(adapter, content).mistakes}


def test_what_is_right_passes():
    found = validate(DOCUMENT, {"server": {"port": 9000}, "devices": {"budget_mb": {"host": 700}}})
    assert found.mistakes == ()
    assert found.value.server.port == 9000
    assert found.value.devices.budget_mb == {"host": 700}


def test_all_that_is_wrong_is_said_at_once():
    said = complaints(
        {
            "sever": {},
            "server": {"port": "8000", "host": 1, "body_limit_bytes": 2.5},
            "devices": {"budget_mb": {"host": -1}, "fake": [{"name": "a"}]},
            "scheduling": {"patience_s": float("nan"), "restore_victims": 1},
            "services": {"a": {}},
            "models": {"m": 3},
            "on_shutdown": "kep",
        }
    )
    assert said == {
        "sever": "is not a known key; did you mean server?",
        "server.port": 'must be a whole number, not "8000"',
        "server.host": "must be text (in quotes, if it looks like a number), not 1",
        "server.body_limit_bytes": "must be a whole number, not 2.5",
        "devices.budget_mb.host": "must be at least 0, not -1",
        "devices.fake[0].total_mb": "is required",
        "scheduling.patience_s": "must be a finite number, not NaN",
        "scheduling.restore_victims": "must be true or false, not 1",
        "services.a.engine": "is required",
        "models.m": "must be a mapping of keys, not 3",
        "on_shutdown": "must be 'keep' or 'stop', not \"kep\"; did you mean keep?",
    }


def test_what_is_wrong_is_cut_out_and_the_rest_is_kept():
    found = validate(MODEL, {"service": "a", "slots": "two", "priority": 7})
    assert found.value == ModelEntry(service="a", priority=7)
    assert found.doubts(("slots",))
    assert not found.doubts(("priority",))


def test_without_the_key_that_everything_hangs_on_there_is_no_value():
    found = validate(SERVICE, {"url": "http://x"})
    assert found.value is None
    assert found.doubts(("engine",))


def test_an_unknown_key_far_from_all_is_answered_with_what_is_known():
    assert "known here are" in complaints({"zzzz": 1})["zzzz"]
    assert (
        "release_lag_s"
        in complaints({"devices": {"fake": [{"name": "a", "total_mb": 1, "qqqq": 1}]}})[
            "devices.fake[0].qqqq"
        ]
    )


def test_nearest_asks_only_where_something_is_near():
    assert nearest("modles", ["models", "server"]) == "; did you mean models?"
    assert nearest("xyz", ["models", "server"]) == ""


def test_a_long_wrong_value_is_clipped():
    assert len(shown("x" * 10_000)) <= 60


def test_known_keys_are_found_below_maps_lists_and_choices():
    schema = DOCUMENT.json_schema()
    assert "file" in properties_at(schema, ("models", "any name"))
    assert "total_mb" in properties_at(schema, ("devices", "fake", 0))
    assert "tokens_per_s" in properties_at(schema, ("models", "x", "fake"))
    assert properties_at(schema, ("no", "such")) == {}
