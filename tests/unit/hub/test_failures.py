from orchestrator.hub.failures import Again, Cause, PullFailed


def test_a_failure_says_what_and_what_to_do() -> None:
    failure = PullFailed(Cause.NOT_FOUND, "It is not there.", "Look elsewhere.")
    assert str(failure) == "It is not there."
    assert (failure.cause, failure.remedy) == (Cause.NOT_FOUND, "Look elsewhere.")


def test_what_may_pass_carries_the_failure_that_it_would_be() -> None:
    failure = PullFailed(Cause.BUSY, "Later.", "Wait.")
    assert Again(failure, 3.0).failure is failure
    assert Again(failure).after_s is None
