"""What would fit instead."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as test_settings
from hypothesis import strategies as st

from orchestrator.gguf.estimate import estimate
from orchestrator.gguf.fits import CONTEXT_STEP, suggestions
from orchestrator.gguf.footprint import Estimate
from orchestrator.gguf.header import Header
from orchestrator.gguf.settings import Settings
from tests.unit.gguf.shapes import header

MIB = 1 << 20
LLAMA = header("llama31-8b")
ASKED = Settings(context_size=32768)


def needs(settings: Settings) -> int:
    return estimate(LLAMA, settings).devices[0].total_bytes


def test_what_fits_needs_no_suggestion() -> None:
    fit = suggestions(LLAMA, ASKED, (needs(ASKED),))
    assert fit.fits
    assert fit.suggestions == {}
    assert fit.text == "fits: needs 9,494 of 9,494 MiB"


def test_what_does_not_fit_is_answered_with_one_change_each() -> None:
    fit = suggestions(LLAMA, ASKED, (7000 * MIB,))
    assert not fit.fits
    assert fit.suggestions == {"context_size": 12800, "gpu_layers": 23, "cache_type": "q5_1"}
    assert fit.text == (
        "needs 9,494 MiB where 7,000 MiB are free; would fit with context_size 12800 "
        "or gpu_layers 23 or cache_type q5_1"
    )


def test_each_suggestion_fits_and_the_next_larger_one_does_not() -> None:
    free = 7000 * MIB
    fit = suggestions(LLAMA, ASKED, (free,))
    assert fit.context_size is not None
    assert fit.gpu_layers is not None
    assert needs(replace(ASKED, context_size=fit.context_size)) <= free
    assert needs(replace(ASKED, context_size=fit.context_size + CONTEXT_STEP)) > free
    assert needs(replace(ASKED, gpu_layers=fit.gpu_layers)) <= free
    assert needs(replace(ASKED, gpu_layers=fit.gpu_layers + 1)) > free


def test_where_nothing_helps_it_says_so() -> None:
    fit = suggestions(LLAMA, ASKED, (100 * MIB,))
    assert fit.suggestions == {}
    assert fit.text == "needs 9,494 MiB where 100 MiB are free; no single setting makes it fit"


def test_room_on_another_gpu_does_not_help_the_full_one() -> None:
    split = replace(ASKED, tensor_split=(1.0, 1.0))
    assert suggestions(LLAMA, split, (20_000 * MIB, 20_000 * MIB)).fits
    assert not suggestions(LLAMA, split, (20_000 * MIB, 2_000 * MIB)).fits


def test_no_context_beyond_what_the_model_was_trained_for() -> None:
    assert suggestions(LLAMA, ASKED, (1 << 60,)).context_size == 131072


def test_slots_with_caches_of_their_own_get_a_context_each() -> None:
    split = replace(ASKED, slots=2, unified_cache=False)
    assert suggestions(LLAMA, split, (1 << 60,)).context_size == 2 * 131072


def test_no_coarser_cache_where_flash_attention_is_off() -> None:
    plain = replace(ASKED, flash_attention=False)
    assert suggestions(LLAMA, plain, (7000 * MIB,)).cache_type is None


@test_settings(max_examples=30, deadline=None)
@given(free_mib=st.integers(0, 40_000), name=st.sampled_from(["qwen3-30b-a3b", "g270"]))
def test_whatever_is_suggested_fits(free_mib: int, name: str) -> None:
    model, free = header(name), (free_mib * MIB,)
    fit = suggestions(model, ASKED, free)
    for key, value in fit.suggestions.items():
        changes = (
            {"cache_type_k": value, "cache_type_v": value} if key == "cache_type" else {key: value}
        )
        changed = replace(ASKED, **changes)  # type: ignore[arg-type]
        assert estimate(model, changed).devices[0].total_bytes <= free[0]


def test_free_bytes_of_other_gpus_than_asked_fit_nothing() -> None:
    assert not suggestions(LLAMA, ASKED, ()).fits


@pytest.mark.parametrize("name", ["g270", "qwen35-9b", "dsv2-lite"])
def test_more_room_never_shortens_the_context(name: str) -> None:
    contexts = [
        suggestions(header(name), ASKED, (free * MIB,)).context_size or 0
        for free in (500, 1000, 4000, 8000, 16000, 32000)
    ]
    assert contexts == sorted(contexts)


def test_without_a_gpu_it_must_fit_on_the_host():
    asked = Settings(context_size=65536, tensor_split=())
    needed = estimate(header("llama31-8b"), asked).host.total_bytes
    assert suggestions(header("llama31-8b"), asked, (needed,)).fits
    fit = suggestions(header("llama31-8b"), asked, (needed - (1 << 30),))
    assert not fit.fits
    assert fit.needed_bytes == (needed,)
    assert fit.gpu_layers is None
    assert fit.context_size is not None
    assert fit.context_size < 65536


def test_what_the_gpus_do_not_hold_must_fit_on_the_host() -> None:
    free = 7000 * MIB
    fewer = estimate(LLAMA, replace(ASKED, gpu_layers=23))
    assert suggestions(LLAMA, ASKED, (free,), host_bytes=fewer.host.total_bytes).gpu_layers == 23
    short = suggestions(LLAMA, ASKED, (free,), host_bytes=fewer.host.total_bytes - 1)
    assert (short.gpu_layers, short.context_size, short.cache_type) == (None, 12800, "q5_1")
    assert not suggestions(LLAMA, ASKED, (1 << 60,), host_bytes=0).fits


def test_the_estimates_may_be_somebody_elses() -> None:
    def doubled(header: Header, settings: Settings) -> Estimate:
        guess = estimate(header, settings)
        return replace(guess, devices=tuple(share + share for share in guess.devices))

    free = (2 * needs(ASKED),)
    assert suggestions(LLAMA, ASKED, free, told_by=doubled).fits
    assert not suggestions(LLAMA, ASKED, (free[0] - 1,), told_by=doubled).fits
