"""Requests that nginx carries, or has carried, among those of the daemon."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from pydantic_core import from_json, to_json

from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.desk.activity import Activity, Run
from orchestrator.gateway.paths import POSTS, Protocol
from orchestrator.gateway.usage import UsageReader
from orchestrator.orders import NAME_CHARS_MAX
from orchestrator.records import Outcome
from orchestrator.wall import WALL

CLIENT_GONE_STATUS = 499  # nginx's own, where nothing was answered
LINE_S_MAX = 5.0  # nginx writes its lines within a second, and they are read within another


class Carried:
    """Requests of the edge among those of the daemon: under way, and ended."""

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._under_way: dict[str, Run] = {}  # by nginx's name for one
        self._missed_s: dict[str, float] = {}  # since when nginx does not speak of one

    def ended(self, lines: Iterable[bytes], passed_over: int) -> None:
        self._activity.pass_over(passed_over)
        for line in lines:
            try:
                self._end(from_json(line))
            except (
                ValueError,
                TypeError,
                LookupError,
                AssertionError,
            ):  # a line that was cut when a disk was full
                self._activity.pass_over(1)

    def _end(self, said: list[object]) -> None:
        told = said[3]
        if not isinstance(told, dict):
            raise TypeError(told)
        run = run_of(said, told)
        serial = str(told.get("serial"))
        known = self._under_way.pop(serial, None)
        self._missed_s.pop(serial, None)
        outcome, status = outcome_of(said, told)
        reader = UsageReader()
        reader.feed(to_json(told))
        if known is None:
            run.outcome, run.status, run.usage = outcome, status, reader.usage()
            self._activity.take(run)
            return
        known.first_byte_s, known.streaming = run.first_byte_s, run.streaming
        self._activity.end(known, outcome, status, reader.usage(), ended_s=run.ended_s)

    def under_way(
        self, carried: Iterable[Mapping[str, object]], now_s: float
    ) -> Iterator[tuple[str, Run]]:
        """Show these. Yield those that were not shown before.

        Others have ended: their lines follow, unless the worker of nginx was killed that had them.
        """
        here = set()
        for said in carried:
            serial = str(said["serial"])
            here.add(serial)
            if serial not in self._under_way:
                run = _run_under_way(said)
                self._under_way[serial] = run
                self._activity.join(run)
                yield serial, run
        for serial in self._under_way.keys() - here:
            since_s = self._missed_s.setdefault(serial, now_s)
            if now_s - since_s > LINE_S_MAX:
                del self._missed_s[serial]
                self._activity.end(self._under_way.pop(serial), Outcome.FAILED)


def run_of(said: list[object], told: Mapping[str, object]) -> Run:
    """With all figures but its number, its outcome and its usage. Raise ValueError and others."""
    caller, instance, model, _, ended_s, total_s, header_s, *_ = said
    _, _, _, client, path, _, priority, owner = str(caller).split("\n")
    assert isinstance(ended_s, float | int)
    assert isinstance(total_s, float | int)
    ended_s = WALL.heard(ended_s)
    began_s = ended_s - total_s
    call = POSTS.get(path)
    run = Run(
        0,
        str(told.get("asked", model))[:NAME_CHARS_MAX],
        call.protocol if call else Protocol.OPENAI,
        path[:NAME_CHARS_MAX],
        client,
        owner[:NAME_CHARS_MAX] or None,
        bool(told.get("stream")),
        int(priority) if priority else None,
        began_s,
        model=ModelName(str(model)),
        instance=InstanceId(str(instance)),
        key=str(told["key"]) if "key" in told else None,
    )
    with suppress(ValueError):  # "-": there was none
        # nginx takes the two from two clocks and rounds each: the first may seem to come last.
        run.first_byte_s = min(began_s + float(str(header_s)), ended_s)
    run.ended_s = ended_s
    return run


def outcome_of(said: list[object], told: Mapping[str, object]) -> tuple[Outcome, int | None]:
    status, completion = int(str(said[7])), said[8]
    if told.get("ended"):
        return Outcome.ENDED, status
    if told.get("died"):
        return Outcome.SERVER_DIED, status
    if completion == "OK" and status != CLIENT_GONE_STATUS:
        return Outcome.ANSWERED, status
    return Outcome.CLIENT_GONE, None


def _run_under_way(said: Mapping[str, object]) -> Run:
    path, priority, owner = str(said["path"]), said.get("priority"), said.get("owner")
    call = POSTS.get(path)
    return Run(
        0,
        str(said["asked"])[:NAME_CHARS_MAX],
        call.protocol if call else Protocol.OPENAI,
        path,
        str(said["client"]),
        str(owner)[:NAME_CHARS_MAX] if owner else None,
        False,
        int(str(priority)) if priority is not None else None,
        WALL.heard(float(str(said["began_s"]))),
        model=ModelName(str(said["model"])),
        instance=InstanceId(str(said["instance"])),
        key=str(said["key"]) if "key" in said else None,
    )
