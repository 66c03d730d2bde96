from orchestrator.access.keys import rates
from orchestrator.access.keys.rates import Rates
from tests.unit.access.keys.samples import NOW_S, key


def test_61st_request_is_429_with_retry_after():
    mine, counted = key(), Rates()
    assert [counted.ask(mine, NOW_S + n / 4) for n in range(60)] == [None] * 60
    refused = counted.ask(mine, NOW_S + 15)
    assert (refused.code, refused.retry_after_s) == ("rate_limited", 45)
    assert counted.ask(mine, NOW_S + 60) is None
    assert counted.ask(mine, NOW_S + 60) is not None


def test_burst_bounds_one_second():
    mine, counted = key(burst=3), Rates()
    said = [counted.ask(mine, NOW_S) is None for _ in range(4)]
    assert said == [True, True, True, False]
    assert counted.ask(mine, NOW_S + 1) is None


def test_keys_are_counted_apart():
    one, other, counted = key(requests_per_minute=1), key(id="other123"), Rates()
    assert counted.ask(one, NOW_S) is None
    assert counted.ask(one, NOW_S) is not None
    assert counted.ask(other, NOW_S) is None


def test_keys_that_a_key_has_made_share_its_minute():
    boss, counted = key(id="boss0000", requests_per_minute=3), Rates()
    one, other = key(id="one00000"), key(id="other000")
    assert counted.ask(one, NOW_S, boss) is None
    assert counted.ask(other, NOW_S, boss) is None
    assert counted.ask(boss, NOW_S) is None
    refused = counted.ask(one, NOW_S, boss)
    assert (refused.code, "boss0000" in refused.detail) == ("rate_limited", True)
    assert counted.ask(one, NOW_S + 60, boss) is None


def test_requests_in_flight_and_in_wait_are_bounded():
    mine, counted = key(max_in_flight=1, max_waiting=1), Rates()
    assert counted.begin(mine) is None
    assert counted.begin(mine).code == "rate_limited"
    counted.end(mine)
    assert counted.begin(mine) is None
    with counted.waits(mine) as refused:
        assert refused is None
        with counted.waits(mine) as second:
            assert second.code == "rate_limited"
    with counted.waits(mine) as refused:
        assert refused is None


def test_figures_of_many_keys_are_bounded_and_none_under_way_is_forgotten(monkeypatch):
    monkeypatch.setattr(rates, "KEYS_MAX", 4)
    counted, busy = Rates(), key(id="busy")
    counted.begin(busy)
    for number in range(20):
        counted.ask(key(id=str(number)), NOW_S)
    assert len(counted._figures) <= 4
    counted.end(busy)


def test_what_nginx_has_let_in_counts_as_well():
    mine, counted = key(requests_per_minute=5), Rates()
    counted.carried(mine.id, 3, 0, NOW_S)
    assert [counted.ask(mine, NOW_S + 1) is None for _ in range(3)] == [True, True, False]
    assert counted.ask(mine, NOW_S + 1).retry_after_s == 59
    assert counted.spent(NOW_S + 1) == {mine.id: (2, 0)}
    assert counted.spent(NOW_S + 62) == {}
    assert counted.ask(mine, NOW_S + 62) is None


def test_a_burst_is_that_of_both():
    mine, counted = key(burst=3), Rates()
    counted.carried(mine.id, 2, 0, NOW_S)
    said = [counted.ask(mine, NOW_S + 0.5) is None for _ in range(2)]
    assert said == [True, False]
    assert counted.ask(mine, NOW_S + 1) is None


def test_what_is_under_way_at_nginx_counts_as_well():
    mine, counted = key(max_in_flight=2), Rates()
    counted.carried(mine.id, 1, 1, NOW_S)
    assert counted.begin(mine) is None
    assert counted.begin(mine).code == "rate_limited"
    assert counted.spent(NOW_S) == {mine.id: (0, 1)}
    counted.carried(mine.id, 0, 0, NOW_S)
    assert counted.begin(mine) is None
