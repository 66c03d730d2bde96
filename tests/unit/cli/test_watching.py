from orchestrator.cli.watching import changes


def status(devices=(), models=(), queue=()):
    return {
        "devices": [{"id": "g0", "state": state, "problem": why} for state, why in devices],
        "loaded_models": {
            name: {"status": state, "why_leaving": why} for name, state, why in models
        },
        "queue": [{"model": name, "waits_for": why, "bound_seconds": 90.0} for name, why in queue],
    }


def test_only_what_is_different_is_said():
    first = status([("ok", "")], [("a", "loading", "")])
    assert list(changes(first, None)) == ["a is loading"]
    assert list(changes(first, first)) == []
    then = status(
        [("lost", "off the bus")], [("a", "draining", "b needs it")], [("b", "a to leave")]
    )
    assert list(changes(then, first)) == [
        "g0 is lost: off the bus",
        "a is draining: b needs it",
        "b waits for a to leave, at most 1 min 30 s",
    ]
    assert list(changes(status(), then)) == ["a has left", "b does not wait any more"]
