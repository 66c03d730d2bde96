"""How fast models are, as the terminal shows it."""

from orchestrator.cli.speed_lines import bench_lines, kept_lines, speed_lines
from orchestrator.web.wire import speed_examples

KEPT, LISTED = speed_examples.BENCHMARK, speed_examples.BENCHMARKS
(SPEED,) = LISTED["speeds"]


def rows(table):
    return list(zip(*([str(cell) for cell in one.cells] for one in table.columns), strict=True))


def test_a_benchmark_stands_beside_what_was_before_and_what_is_expected():
    head, tokens, table = bench_lines(KEPT)
    assert head.startswith("qwen3-vl-30b on GPU-")
    assert "context 16384, 1 slot, f16" in head
    assert tokens == "The median of 3 requests: 512 tokens read, 128 written."
    writes, reads, first, loads = rows(table)
    assert writes == (
        "writes",
        "38.9 tokens/s",
        "45.2 tokens/s",
        "45 -10 %",
        "slower than expected",
    )
    assert reads == ("reads", "1890.0 tokens/s", "-", "-", "")
    assert (first[1], loads[1]) == ("0.310 s", "14.2 s")


def test_what_is_not_measured_is_shown_where_it_is_expected():
    unloaded = {**KEPT["benchmark"], "load_seconds": None}
    expected = {**SPEED, "figure": "load_seconds", "measured": None, "drifts": False}
    table = bench_lines({**KEPT, "benchmark": unloaded, "speeds": [expected]})[-1]
    assert rows(table)[-1] == ("loads in", "-", "-", "45 +10 %", "")


def test_the_list_shows_all_that_was_kept_and_what_is_expected():
    kept, _, speeds = kept_lines(LISTED)
    assert rows(kept)[0][2:6] == ("38.9 tokens/s", "1890.0 tokens/s", "0.310 s", "14.2 s")
    assert rows(speeds)[0][0] == "qwen3-vl-30b"
    assert len(kept_lines({**LISTED, "benchmarks": []})) == 1
    assert kept_lines({"benchmarks": [], "speeds": []}) == [
        "Nothing was measured yet: `orchestrator bench NAME` does."
    ]


def test_what_is_as_expected_and_what_is_not_known_say_so():
    fine = {**SPEED, "drifts": False}
    unknown = {**SPEED, "measured": None, "source": None, "measured_at": None, "drifts": False}
    (table,) = speed_lines([fine, unknown])
    first, second = rows(table)
    assert first[4] == "as expected"
    assert first[5].startswith("benchmark, ")
    assert second[2:] == ("-", "45 -10 %", "", "not measured yet")
