"""What an engine says of many layers, in one line. Pulling itself: tests/contracts."""

from orchestrator.runtimes.docker.answers import PullLine
from orchestrator.runtimes.docker.images import Layers

MIB = 1 << 20


def heard(*words: tuple[str, str, int, int]) -> str:
    layers = Layers()
    for word in words:
        layers.hear(PullLine(*word))
    return layers.in_words()


def test_nothing_is_said_before_a_size_is_known() -> None:
    assert heard(("1", "Pulling from org/server", 0, 0), ("aa", "Pulling fs layer", 0, 0)) == ""


def test_layers_are_added_up() -> None:
    assert (
        heard(
            ("aa", "Downloading", 10 * MIB, 40 * MIB),
            ("bb", "Downloading", 30 * MIB, 60 * MIB),
            ("aa", "Downloading", 20 * MIB, 40 * MIB),
        )
        == ": 50 %, 50 of 100 MiB"
    )


def test_what_is_complete_counts_whole_and_what_was_here_not_at_all() -> None:
    assert (
        heard(
            ("aa", "Downloading", 10 * MIB, 40 * MIB),
            ("aa", "Download complete", 0, 0),
            ("aa", "Extracting", 1 * MIB, 40 * MIB),
            ("bb", "Already exists", 0, 0),
            ("cc", "Pull complete", 0, 0),
        )
        == ": 100 %, 40 of 40 MiB"
    )
