from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.metrics.servers import NAMES_MAX, ServerCounting
from tests.unit.web.samples import NOW_S, resident, spec

A = ModelName("a")
LIFE = resident(spec("a"), ready_s=NOW_S + 1)
AGAIN = resident(spec("a"), instance=InstanceId("a-2"), ready_s=NOW_S + 9)


def told(counting, *here, models=(A,)):
    return {
        (one.name.removeprefix("llamacpp_"), one.labels["model"]): one.value
        for family in counting.families(models, {one.instance for one in here})
        for one in family.samples
    }


def test_deltas_are_added_across_reloads():
    counting = ServerCounting(lambda: NOW_S)
    for life, total in ((LIFE, 10), (LIFE, 25), (AGAIN, 4)):
        counting.heard(life, {"tokens_predicted_total": total})
    said = told(counting, AGAIN)
    assert said["tokens_predicted_total", "a"] == 29
    assert said["tokens_generated_total", "a"] == 29
    counting.heard(AGAIN, {"tokens_predicted_total": 1})  # it began anew by itself
    assert told(counting, AGAIN)["tokens_predicted_total", "a"] == 30


def test_what_a_server_counted_before_we_came_was_counted_then():
    counting = ServerCounting(lambda: NOW_S)
    adopted = resident(spec("a"), ready_s=NOW_S - 100)
    counting.heard(adopted, {"prompt_tokens_total": 1000})
    counting.heard(adopted, {"prompt_tokens_total": 1003})
    assert told(counting, adopted)["prompt_tokens_total", "a"] == 3


def test_gauges_go_with_their_resident_and_counters_stay():
    counting = ServerCounting(lambda: NOW_S)
    counting.heard(LIFE, {"requests_deferred": 2, "prompt_tokens_total": 5})
    assert told(counting, LIFE)["requests_deferred", "a"] == 2
    said = told(counting)
    assert ("requests_deferred", "a") not in said
    assert said["prompt_tokens_total", "a"] == 5


def test_looks_without_an_answer_are_counted():
    counting = ServerCounting(lambda: NOW_S)
    counting.heard(LIFE, None)
    said = told(counting, models=(A, ModelName("b")))
    assert (said["scrape_errors_total", "a"], said["scrape_errors_total", "b"]) == (1, 0)


def test_a_server_names_no_more_than_a_server_has():
    counting = ServerCounting(lambda: NOW_S)
    many = {f"made_up_{number}": 1.0 for number in range(10 * NAMES_MAX)}
    counting.heard(LIFE, {"Not a name": 1.0, **many})
    names = {name for name, _ in told(counting, LIFE)}
    assert len(names) < NAMES_MAX + 10
    assert "Not a name" not in names
