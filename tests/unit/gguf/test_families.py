"""What is known by an architecture's name."""

from orchestrator.gguf import families
from orchestrator.gguf.families import WindowPattern


def test_every_nth_layer_sees_everything() -> None:
    assert [WindowPattern(3).is_sliding(i) for i in range(6)] == [True, True, False] * 2


def test_some_begin_with_a_layer_that_sees_everything() -> None:
    pattern = WindowPattern(3, full_first=True)
    assert [pattern.is_sliding(i) for i in range(6)] == [False, True, True] * 2


def test_what_has_a_memory_of_its_own_kind_is_not_claimed_to_be_understood() -> None:
    assert not families.UNDERSTOOD & {"deepseek32", "deepseek4", "glm-dsa", "minimax-m3", "t5"}
