"""What is raised carries what an operator reads."""

import orchestrator.errors as module
from orchestrator.core.values.failures import Failure, FailureReason
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.errors import ConfigInvalid, Denied, OrchestratorError, StartFailed


def test_an_error_says_what_it_carries():
    refusal = Refusal(code=RefusalCode.IN_USE, detail="chat is in use.")
    failure = Failure(reason=FailureReason.PORT, detail="the port is taken.")
    assert str(Denied(refusal)) == "chat is in use."
    assert str(StartFailed(failure)) == "the port is taken."
    assert str(ConfigInvalid(("f:1: a", "f:2: b"))) == "f:1: a\nf:2: b"


def test_the_tree_at_the_top_names_every_error():
    errors = [
        name
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, OrchestratorError)
    ]
    assert not [name for name in errors if name not in module.__doc__]
