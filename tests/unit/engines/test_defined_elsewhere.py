"""Servers that compose or a person defined: only which one it is, is said."""

import asyncio

from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.engines.defined_elsewhere import ExternalLauncher, NamedContainerLauncher
from tests.unit.engines.launched import INSTANCE, ON_HOST, spec_of

GONE = Failure(reason=FailureReason.ARGUMENTS, detail="no such container")


async def nothing_lacks(spec):
    return None


async def all_is_gone(spec):
    return GONE


def test_a_container_is_started_by_its_name_and_nothing_else_is_said_about_it():
    launch = NamedContainerLauncher("llama-cpp", nothing_lacks).launch(INSTANCE, spec_of(), ON_HOST)
    assert (launch.container, launch.image, launch.argv) == ("llama-cpp", None, ())
    assert launch.devices == ON_HOST.devices


def test_what_the_runtime_lacks_is_told_before_a_start_and_files_are_not_looked_at():
    spec = spec_of(file="/nowhere/a.gguf")
    assert asyncio.run(NamedContainerLauncher("llama-cpp", nothing_lacks).check(spec)) is None
    assert asyncio.run(NamedContainerLauncher("llama-cpp", all_is_gone).check(spec)) == GONE


def test_of_an_external_server_only_the_address_is_named():
    spec = spec_of(url="http://elsewhere:8080")
    launch = ExternalLauncher().launch(INSTANCE, spec, ON_HOST)
    assert (launch.url, launch.container, launch.argv) == ("http://elsewhere:8080", None, ())
    assert launch.devices == ON_HOST.devices
    assert asyncio.run(ExternalLauncher().check(spec)) is None
