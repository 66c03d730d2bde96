import asyncio

from tests.unit.web.office import APP


def test_figures_are_text_as_prometheus_reads_it(office):
    async def figures():
        await asyncio.sleep(0)
        return b"orchestrator_residents 1\n"

    before, APP.state.figures = APP.state.figures, figures  # monkeypatch would take it away
    try:
        answer = office.asked("GET", "/metrics")
    finally:
        APP.state.figures = before
    assert (answer.status_code, answer.text) == (200, "orchestrator_residents 1\n")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_nothing_is_changed_by_any_method(office):
    assert office.asked("POST", "/metrics", json={}).status_code == 405
