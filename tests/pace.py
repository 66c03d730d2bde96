"""How long a test may take, and which may take longer.

Counted is what a test would take at least on a machine of its own: its time by the clock, divided
by how many programs wanted each processor meanwhile. What several tests share (a fixture of a
module or the session) is counted by itself, and not as part of the test that came first.

Where VRAM_ORCHESTRATOR_REQUIRE names what must be tested, as in CI, a test that took too long has
failed; elsewhere the end of the run names it.
"""

import os
import re
import time
from collections.abc import Generator
from typing import Any

import pytest

from tests import parts

SECONDS_MAX = 20.0
# A test or a shared fixture (path::name, of all its parameters), and why it needs longer.
LONGER = {
    "tests/contracts/test_compose.py::stack": "builds the images of the stack and brings it up",
    "tests/contracts/test_compose.py::test_a_ready_model_answers_while_the_orchestrator_is_away": (
        "the orchestrator of the stack is ended, and comes back"
    ),
    "tests/contracts/test_compose.py::test_own_certificate_is_used": "restarts the edge of the stack",
    "tests/contracts/test_compose.py::test_a_closed_container_is_in_a_network_of_its_own_and_serves_all_ways": (
        "the orchestrator of the stack is killed, and comes back"
    ),
    "tests/contracts/test_compose.py::test_resident_of_the_stack_cannot_reach_anything": (
        "twelve addresses, most of which do not answer, from two networks"
    ),
    "tests/contracts/test_compose.py::"
    "test_a_key_that_its_owner_gave_the_container_of_compose_is_known_to_the_stack": (
        "the orchestrator of the stack is started anew three times"
    ),
    "tests/contracts/test_compose.py::"
    "test_one_more_closed_model_than_networks_has_an_idle_one_leave_or_nobody": (
        "four loads of real models in the stack"
    ),
    "tests/contracts/test_compose.py::test_commands_of_the_docker_guide": "takes the stack down",
    "tests/contracts/test_compose.py::test_gpus_are_requested_and_read_by_uuid": "a second stack",
    "tests/scenarios::n8n": "builds our node, imports the workflows, starts n8n: once for all tests",
    "tests/scenarios/test_n8n_closed.py::test_the_workflow_that_names_llama_cpp": (
        "real models in containers, loaded and asked by real workflows, two of them"
    ),
    "tests/scenarios/test_n8n_closed.py::test_closed_it_asks_the_endpoint_with_its_key": (
        "likewise, and once more by hand"
    ),
    "tests/scenarios/test_token_ceiling.py::test_no_way_to_a_real_server_writes_more": (
        "27 requests to a real model on one processor"
    ),
    "tests/scenarios/test_docker.py::test_docker_hangs_the_daemon_does_not": (
        "an engine of its own that stands still for longer than any call is waited for"
    ),
    "tests/scenarios/test_schema.py::test_the_document_and_the_daemon_agree": (
        "looks for 25 s for a request that the document does not foresee"
    ),
    "tests/scenarios/test_random_driver.py::test_whatever_callers_and_the_world_do": (
        "lives for 25 s with everything that can happen, three times"
    ),
    "tests/scenarios/test_wire.py::test_whatever_bytes_come_the_gateway_serves_on": (
        "sends what comes to mind for 8 s, and waits until all of it has ended"
    ),
    "tests/scenarios/test_n8n_make_run.py::test_the_documents_flow_runs_beside_make_run": (
        "`make run` in a checkout in which nothing has been set up"
    ),
    "tests/scenarios/test_faults.py::test_idle_connections_delay_nobody": (
        "ten thousand connections are opened one by one"
    ),
    "tests/scenarios/test_docker.py::test_failed_container_stop_is_not_stopped": (
        "a server that cannot be killed is waited for as long as the engine waits for it"
    ),
    "tests/scenarios/test_gpu_kit.py::test_every_step_of_the_kit_can_be_rehearsed": (
        "thirteen steps, each in a process of its own, with servers that load real weights"
    ),
    "tests/scenarios/test_older_version.py::test_forward_back_and_forward_again": (
        "four daemons of two versions follow one another, each imported anew"
    ),
    "tests/scenarios/test_service.py::"
    "test_an_edge_is_installed_along_survives_its_parent_and_goes_with_its_section": (
        "the daemon and nginx are installed, killed, stopped and removed under a real systemd"
    ),
    "tests/scenarios/test_service.py::test_a_user_installs_one_of_his_own": (
        "a systemd of that user's is started, and the daemon under it three times"
    ),
    "tests/scenarios/test_workflows.py::test_n8n_lets_a_real_model_call_a_tool": (
        "a real model reads the description of a tool, on a processor"
    ),
}

RULE = f"At most {SECONDS_MAX:.0f} s, or tests/pace.py names it with a reason."
_SLOW = "took too long"  # the kind of property under which a worker tells the one that reports


def crowd() -> float:
    """How many programs want each processor now; 1 if all that want one have it.

    A bound of time is that of a machine with nothing else to do, times this.
    """
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


class _Watch:
    """Of the test that runs now."""

    def __init__(self) -> None:
        self.shared_s = 0.0
        self.mark_s = time.monotonic()  # when the last fixture had been made or ended
        self.own_s = 0.0
        self.slow: list[str] = []

    def judge(self, what: str, seconds: float) -> None:
        alone_s = seconds / crowd()
        named = re.split(r"[\[@]", what)[0]  # without parameters and the group for xdist
        if alone_s > SECONDS_MAX and named not in LONGER:
            self.slow.append(f"{what}: {seconds:.0f} s, {alone_s:.0f} s of them its own")


class Pace:
    """Watches all tests. Registered once a process."""

    def __init__(self) -> None:
        self.watch = _Watch()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, Any]:
        self.watch = _Watch()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        began_s = time.monotonic()
        try:
            return (yield)
        finally:
            self.watch.mark_s = time.monotonic()
            self._shared(fixturedef, self.watch.mark_s - began_s)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, Any, Any]:
        self.watch.mark_s = time.monotonic()
        return (yield)

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        now_s = time.monotonic()
        self._shared(fixturedef, now_s - self.watch.mark_s)
        self.watch.mark_s = now_s

    def _shared(self, fixturedef: pytest.FixtureDef[Any], seconds: float) -> None:
        if fixturedef.scope != "function":
            self.watch.shared_s += seconds
            self.watch.judge(f"{fixturedef.baseid}::{fixturedef.argname}", seconds)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.watch.own_s += call.duration
        if report.when == "teardown":
            self.watch.judge(item.nodeid, self.watch.own_s - self.watch.shared_s)
            report.user_properties += [(_SLOW, each) for each in self.watch.slow]
            if self.watch.slow and parts.required() and report.passed:
                report.outcome = "failed"
                report.longrepr = f"{'; '.join(self.watch.slow)}. {RULE}"
        return report


def told(reports: list[pytest.TestReport]) -> list[str]:
    """One line for each that took too long."""
    properties = [each for report in reports for each in report.user_properties]
    return [str(said) for kind, said in properties if kind == _SLOW]
