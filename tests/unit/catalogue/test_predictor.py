"""Somebody who cannot tell what models take: what was declared stands."""

import pytest

from orchestrator.catalogue.predictor import Unpredicting, nothing_cached
from orchestrator.errors import Unpredictable
from tests.factories import spec


def test_who_cannot_tell_says_so_and_asks_for_nothing():
    nobody = Unpredicting()
    model = spec("a", gib=1)
    assert nobody.footprint(model) is None
    assert nobody.prepared(model)
    nobody.prepare(model)
    assert nobody.changed(model, model.serving) is None
    assert (nobody.news(), nobody.fallbacks(model)) == ((), ())
    assert nobody.suggestions(model, 0, on_host=False) == ()
    with pytest.raises(Unpredictable):
        nobody.appraise(model)


def test_nothing_was_ever_pulled():
    assert nothing_cached("org/repo:a.gguf") is None
