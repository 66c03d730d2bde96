"""What follows when the engine that models run on does not answer, and when it does again."""

from dataclasses import replace

from orchestrator.core.life.consistency import consistent
from orchestrator.core.life.outages import mark, reason, refusal, what_comes
from orchestrator.core.life.survey import survey
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.failures import FailureReason, Silence
from orchestrator.core.values.messages import (
    Checked,
    Deny,
    Evict,
    Grant,
    Load,
    RuntimesHeard,
    ServerHeard,
    StopFailed,
    Ticked,
)
from orchestrator.core.values.refusals import RefusalCode
from orchestrator.core.values.residents import InstanceId, ResidentState
from orchestrator.core.values.specs import ServiceName
from tests.factories import gpu, request, resident, sampled, scheduler, spec, unload

SILENCE = Silence(who="Docker at x", for_s=12.4, problem="Docker at x has not answered for 12 s.")
A, B = spec("a", gib=8), spec("b", gib=20)
SERVICE = A.service
HEARD, SILENT = RuntimesHeard({}), RuntimesHeard({SERVICE: SILENCE})


def handle(scheduled, *events):
    now_s, effects = 1.0, []
    for event in events:
        effects = list(scheduled.handle(event, now_s=now_s))
        now_s += 1.0
    return effects


def decided(effects, kind=DecisionKind.RUNTIME):
    return [each.text for each in effects if isinstance(each, Decide) and each.kind is kind]


def test_a_silence_and_its_end_are_said_once():
    scheduled = scheduler(gpu(gib=24), A)
    (said,) = decided(handle(scheduled, SILENT))
    assert "Docker at x does not answer" in said
    assert decided(handle(scheduled, SILENT)) == []
    assert decided(handle(scheduled, HEARD)) == ["Docker at x answers again."]
    assert decided(handle(scheduled, HEARD)) == []


def test_several_services_on_one_engine_are_one_silence():
    both = RuntimesHeard({SERVICE: SILENCE, ServiceName("other"): SILENCE})
    assert len(decided(handle(scheduler(gpu(gib=24), A), both))) == 1


def test_residents_keep_their_state_and_the_status_knows():
    scheduled = scheduler(gpu(gib=24), resident("a", gib=8))
    version = scheduled.state.ledger.version
    handle(scheduled, SILENT)
    assert scheduled.state.ledger.resident("a").state is ResidentState.READY
    assert survey(scheduled.state, 2.0).silent == {SERVICE: SILENCE}
    assert scheduled.state.ledger.version > version, "whoever watches sees it"


def test_nothing_is_started_there_and_nobody_waits_for_it():
    scheduled = scheduler(gpu(gib=24), A)
    (denied,) = (
        each for each in handle(scheduled, SILENT, request(1, A)) if isinstance(each, Deny)
    )
    assert denied.refusal.code is RefusalCode.RUNTIME_UNAVAILABLE
    assert denied.refusal.retry_after_s
    effects = handle(scheduled, HEARD, request(2, A), sampled(gpu(gib=24, at_s=3.0)))
    assert any(isinstance(each, Load) for each in effects)


def test_what_cannot_be_stopped_is_not_asked_to_leave():
    elsewhere = replace(B, service=ServiceName("elsewhere"))
    scheduled = scheduler(gpu(gib=24), resident("a", gib=8), elsewhere)
    effects = handle(scheduled, SILENT, request(1, elsewhere))
    assert not any(isinstance(each, Evict | Deny) for each in effects), "it waits for its room"


def test_a_stop_that_failed_in_the_silence_is_tried_again_after_it():
    stuck = resident("a", gib=8, state=ResidentState.UNLOADING)
    scheduled = scheduler(gpu(gib=24), stuck)
    handle(scheduled, SILENT, StopFailed(stuck.instance, "Docker has not answered."))
    assert scheduled.state.ledger.resident("a").state is ResidentState.STUCK
    (again,) = (each for each in handle(scheduled, HEARD) if isinstance(each, Evict))
    assert again.resident.instance == stuck.instance


def test_an_unload_in_a_silence_is_not_told_to_use_force():
    scheduled = scheduler(gpu(gib=24), resident("a", gib=8))
    failed = StopFailed(scheduled.state.ledger.resident("a").instance, "Docker has not answered.")
    (denied,) = (
        each for each in handle(scheduled, SILENT, unload(1, "a"), failed) if isinstance(each, Deny)
    )
    assert denied.refusal.code is RefusalCode.CONFLICT
    assert "force" not in denied.refusal.remedy
    assert "lease" not in denied.refusal.remedy
    assert ".." not in denied.refusal.detail


def test_the_sentences_say_who_and_for_how_long():
    assert mark(SILENCE) == ("Docker at x has not answered for 12 s; this is its last known state.")
    assert reason(SILENCE) == "Docker at x has not answered for 12 s; nothing is started there."
    refused = refusal(A.name, SILENCE)
    assert SILENCE.problem in refused.detail
    assert refused.failure.reason is FailureReason.RUNTIME_UNAVAILABLE


# --- a server that hangs -----------------------------------------------------------------------


def hanging(*parts):
    """A scheduler of which model `a` is ready, and its server has stopped answering at 1."""
    there = resident("a", gib=8)
    scheduled = scheduler(gpu(gib=24), there, *parts)
    return scheduled, there.spec, scheduled.handle(hangs(1.0), now_s=4.0)


def hangs(since_s):
    return ServerHeard(InstanceId("a-1"), since_s)


ANSWERS = ServerHeard(InstanceId("a-1"), None)


def of_kind(effects, kind):
    return [each for each in effects if isinstance(each, kind)]


def test_a_server_that_hangs_is_said_once_and_once_when_it_answers_again():
    scheduled, _, effects = hanging()
    for event in (hangs(1.0), hangs(1.0), ANSWERS, ANSWERS):
        effects += scheduled.handle(event, now_s=5.0)
    assert decided(effects, DecisionKind.SERVER) == [
        "a's server runs and does not answer. Loads of it wait until it does.",
        "a's server answers again.",
    ]


def test_a_server_that_hangs_is_given_to_no_caller_before_it_answers():
    scheduled, a, _ = hanging()
    assert of_kind(scheduled.handle(request(2, a), now_s=5.0), Grant | Deny) == []
    (line,) = survey(scheduled.state, 5.0).queue
    assert line.waits_for == "its server to answer again"
    assert consistent(scheduled.state) == []
    (grant,) = of_kind(scheduled.handle(ANSWERS, now_s=6.0), Grant)
    assert grant.ticket == 2
    assert len(of_kind(scheduled.handle(request(3, a), now_s=7.0), Grant)) == 1


def test_who_waits_for_a_server_that_hangs_is_refused_at_the_bound():
    scheduled, a, _ = hanging()
    scheduled.handle(request(2, a, deadline_s=10.0), now_s=5.0)
    (denied,) = of_kind(scheduled.handle(Ticked(), now_s=11.0), Deny)
    assert denied.refusal.code is RefusalCode.SERVER_SILENT
    assert denied.refusal.detail == "a is loaded. Its server has not answered for 10 s."
    assert "force" in denied.refusal.remedy
    assert denied.refusal.retry_after_s


def test_a_server_that_hangs_is_evicted_as_any_other():
    scheduled, a, _ = hanging(B)
    scheduled.handle(request(2, a), now_s=5.0)
    scheduled.handle(request(3, B), now_s=5.0)
    (told,) = of_kind(scheduled.handle(Checked(B.name, None), now_s=6.0), Evict)
    assert told.resident.instance == "a-1"


def test_of_a_server_that_leaves_no_silence_is_heard():
    scheduled = scheduler(gpu(gib=24), resident("a", gib=8, state=ResidentState.UNLOADING))
    assert scheduled.handle(hangs(1.0), now_s=4.0) == []


def test_what_comes_of_a_server_that_does_not_answer_is_said():
    heard = resident("a", gib=8)
    hung = replace(heard, silent_since_s=100.0)
    assert what_comes(heard, 120.0, None) == ""
    assert "It is waited for" in what_comes(hung, 120.0, None)
    assert what_comes(hung, 120.0, 60.0) == (
        "If that lasts, it is restarted by force in 40 s (on_hang: restart)."
    )
    assert "in 0 s" in what_comes(hung, 999.0, 60.0)
