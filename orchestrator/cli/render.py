"""What the API answers, as sentences and tables. Pure: no clock, no width, no output."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from orchestrator.cli.remedies import in_terminal
from orchestrator.cli.screen import table
from orchestrator.cli.speed_lines import speed_lines
from orchestrator.core.values.vram import is_cuda

if TYPE_CHECKING:  # the shapes of the answers: the command line starts without the web
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.cli.doctor import Finding
    from orchestrator.cli.screen import Part
    from orchestrator.web.wire.event_shapes import Decision
    from orchestrator.web.wire.shapes import (
        Accepted,
        CatalogueEntry,
        DeviceShape,
        LoadAnswer,
        LoadedModel,
        ModelLeases,
        ModelList,
        Pinned,
        PlanAnswer,
        Reloaded,
        RoomLeases,
        Status,
        UnloadAnswer,
        Waiter,
    )

UNKNOWN = "?"
NOTHING = "-"
LOG_LINES_SHOWN_MAX = 20  # of a server that failed: the cause is among the last ones
UNDURABLE = "The disk has not taken it: a restart may undo it. `orchestrator doctor` says why."

NO_MODELS = (
    "There is no model yet. One of these brings one:",
    "  orchestrator add FILE.gguf",
    "  orchestrator add ORG/REPO:Q4_K_M",
    "  orchestrator serve DIR    (every GGUF under it)",
)


def size(mb: int | None) -> str:
    return UNKNOWN if mb is None else f"{mb / 1024:.1f} GB"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def device_name(device: str) -> str:
    """A GPU's UUID, cut to what tells GPUs apart."""
    return device[:12] if is_cuda(device) else device


def joined(words: Iterable[str]) -> str:
    return ", ".join(words) or NOTHING


# --- status ----------------------------------------------------------------------------------


def status_lines(status: Status) -> list[Part]:
    lines: list[Part] = [line for device in status["devices"] for line in _device(device)]
    lines += ["", *ps_lines(status)]
    if status["leases"]:
        lines += ["", *room_lines({"leases": status["leases"]})]
    if status["queue"]:
        waiting = ("WAITING FOR", "PRIORITY", "CALLERS", "WAITED", "AT MOST", "BECAUSE")
        rows = (_waiter(waiter) for waiter in status["queue"])
        lines += ["", table(waiting, rows, right="PRIORITY CALLERS")]
    if status["speeds"]:
        lines += ["", *speed_lines(status["speeds"])]
    return lines


def _device(device: DeviceShape) -> Iterator[str]:
    name = f"{device['id']} ({device['name']})" if device["id"] != device["name"] else device["id"]
    if device["state"] != "ok":
        yield f"{name}: {device['state']}: {device['problem']}"
        return
    words = [
        f"{size(device['used_mb'])} of {size(device['total_mb'])} used",
        f"{size(device['available_mb'])} available",
        f"{size(device['foreign_mb'])} held by others",
    ]
    if device["utilization_percent"] is not None:
        words.append(f"{device['utilization_percent']:.0f} % busy")
    if device["temperature_c"] is not None:
        words.append(f"{device['temperature_c']:.0f} °C")
    yield f"{name}: {', '.join(words)}"


def _loaded(model: LoadedModel, now: datetime) -> Sequence[str]:
    users = [lease["owner"] or NOTHING for lease in model["leases"]]
    if model["in_flight"]:
        users.append(f"{model['in_flight']} request{'s' if model['in_flight'] > 1 else ''}")
    if model["busy"] and not model["in_flight"]:
        users.append("directly")
    if model["pinned"]:
        users.append("pinned")
    idle_s = max(0.0, (now - _instant(model["last_used_at"])).total_seconds())
    return (
        model["model"],
        model["status"],
        size(model["vram_mb"]),
        model["vram_provenance"],
        str(model["priority"]),
        joined(users),
        duration(idle_s) if model["status"] == "loaded" else NOTHING,
        joined(device_name(share["device"]) for share in model["devices"]),
        model["endpoint"] or NOTHING,
    )


def _reservations(model: LoadedModel) -> Iterator[str]:
    """What is wrong with the model, and what it had to give up of what was asked for."""
    if model["problem"]:
        yield f"  {model['model']}: {model['problem']}"
    if model["given_up"]:
        yield f"  {model['model']}: It had to give up: {joined(model['given_up'])}."


def _waiter(waiter: Waiter) -> Sequence[str]:
    return (
        waiter["model"],
        str(waiter["priority"]),
        str(waiter["callers"]),
        duration(waiter["waited_seconds"]),
        duration(waiter["bound_seconds"]),
        waiter["waits_for"],
    )


def ps_lines(status: Status) -> list[Part]:
    """What is loaded, and no more."""
    if not status["loaded_models"]:
        return ["No model is loaded."]
    models = list(status["loaded_models"].values())
    head = ("MODEL", "STATE", "VRAM", "KNOWN AS", "PRIORITY", "IN USE", "IDLE", "DEVICES")
    rows = (_loaded(model, _instant(status["now"])) for model in models)
    reservations = [line for model in models for line in _reservations(model)]
    return [table((*head, "ENDPOINT"), rows, right="VRAM PRIORITY IDLE"), *reservations]


def waiting_words(status: Status, model: str) -> str:
    """What a caller of the model waits for; empty if nothing is known."""
    for waiter in status["queue"]:
        if waiter["model"] == model and waiter["waits_for"]:
            return waiter["waits_for"]
    loaded = status["loaded_models"].get(model)
    if loaded is None:
        return ""
    return loading_words(loaded, status["now"]) or f"{model} is {loaded['status']}"


def loading_words(model: LoadedModel, now: str) -> str:
    """How long it has been loading, beside how long that took before; empty if it does not."""
    if model["loading_since"] is None:
        return ""
    spent_s = (_instant(now) - _instant(model["loading_since"])).total_seconds()
    usual_s = model["usual_seconds"]
    if usual_s is None:
        return f"loading for {duration(spent_s)}"
    of = "of usually" if spent_s < usual_s else "where it usually takes"
    return f"loading, {duration(spent_s)} {of} {duration(usual_s)}"


# --- lists -----------------------------------------------------------------------------------


def needs(vram_mb: int | None, host_mb: int | None) -> str:
    return UNKNOWN if vram_mb is None or host_mb is None else size(vram_mb + host_mb)


def _state(model: CatalogueEntry) -> str:
    failed = model["failure"] or model["breaker"]
    return f"failed: {failed['detail']}" if failed else model["state"]


def models_lines(catalogue: ModelList) -> list[Part]:
    if not catalogue["data"]:
        return list(NO_MODELS)
    rows = (
        (
            model["id"],
            _state(model),
            needs(model["vram_mb"], model["host_mb"]),
            model["vram_provenance"],
            str(model["priority"]),
            str(model["context_size"] or NOTHING),
            model["service"],
            joined(model["aliases"]),
        )
        for model in catalogue["data"]
    )
    head = ("MODEL", "STATE", "NEEDS", "KNOWN AS", "PRIORITY", "CONTEXT", "SERVICE", "ALIASES")
    return [table(head, rows, right="NEEDS PRIORITY CONTEXT")]


def lease_lines(leases: ModelLeases) -> list[Part]:
    if not leases["leases"]:
        return ["No model is leased."]
    rows = (
        (
            lease["model"],
            lease["owner"] or NOTHING,
            lease["kind"],
            until(lease["expires_at"]),
            lease["lease_id"],
        )
        for lease in leases["leases"]
    )
    return [table(("MODEL", "OWNER", "KIND", "UNTIL", "LEASE"), rows)]


def room_lines(leases: RoomLeases) -> list[Part]:
    if not leases["leases"]:
        return ["No VRAM is leased."]
    rows = (
        (
            size(lease["vram_mb"]),
            lease["device"] or NOTHING,
            lease["owner"] or NOTHING,
            until(lease["expires_at"]),
            lease["lease_id"],
        )
        for lease in leases["leases"]
    )
    return [table(("VRAM", "DEVICE", "OWNER", "UNTIL", "LEASE"), rows, right="VRAM")]


def until(at: str | None) -> str:
    return "released" if at is None else f"{_instant(at).astimezone():%Y-%m-%d %H:%M:%S}"


def decision_line(decision: Decision) -> str:
    at = f"{_instant(decision['at']).astimezone():%m-%d %H:%M:%S}"
    text = decision["text"]
    if decision["why"] and decision["why"] not in text:
        text += f" ({decision['why']})"
    if decision["remedy"]:
        text += f" {in_terminal(decision['remedy'])}"
    return f"{at}  {decision['kind']:<9} {text}"


# --- answers to orders -----------------------------------------------------------------------


def load_lines(answer: LoadAnswer) -> list[str]:
    if answer["already_loaded"]:
        said = f"{answer['model']} was loaded already"
    else:
        said = f"{answer['model']} is loaded after {duration(answer['waited_seconds'])}"
    where = joined(device_name(share["device"]) for share in answer["devices"])
    lines = [f"{said}: {size(answer['vram_mb'])} on {where}."]
    if given_up := answer.get("given_up"):
        lines.append(f"It had to give up: {joined(given_up)}.")
    if answer["evicted"]:
        lines.append(f"Evicted for it: {joined(answer['evicted'])}.")
    if answer["endpoint"]:
        lines.append(f"It answers at {answer['endpoint']}")
    if lease := answer.get("lease_id"):
        lines.append(f"Leased until {until(answer.get('expires_at'))}: {lease}")
    return lines


def accepted_lines(answer: Accepted) -> list[str]:
    eta = answer["eta_seconds"]
    soon = "" if eta is None else f", ready in about {duration(eta)}"
    return [f"{answer['model']} is {answer['status']}{soon}: {answer['operation_id']}"]


def unload_lines(answer: UnloadAnswer) -> list[str]:
    name, status = answer["model"], answer["status"]
    if status == "not_loaded":
        return [f"{name} was not loaded."]
    if status == "released":
        left = answer["remaining_leases"]
        return [f"{name}: released; {left} other lease{'s' if left != 1 else ''} on it."]
    lines = [f"{name} is unloaded: {size(answer['freed_mb'])} freed."]
    return [*lines, answer["note"]] if "note" in answer else lines


def plan_lines(answer: PlanAnswer) -> list[str]:
    name = answer["model"]
    need = f"{size(answer['vram_mb'])}, {size(answer['available_mb'])} available"
    if answer["already_loaded"]:
        return [f"{name} is loaded already."]
    refusal = answer["refusal"]
    if refusal is not None:
        words = (refusal["detail"], in_terminal(refusal["remedy"]))
        lines = [f"{name} would be refused ({refusal['code']}): needs {need}."]
        return lines + [word for word in words if word]
    shares = (
        f"{size(part['vram_mb'])} on {device_name(part['device'])}" for part in answer["placement"]
    )
    lines = [f"{name} would be loaded: {joined(shares)}; needs {need}."]
    if given_up := answer.get("given_up"):
        lines.append(f"It would have to give up: {joined(given_up)}.")
    lines += [
        f"{victim['model']} would be evicted ({size(victim['vram_mb'])}): {victim['reason']}"
        for victim in answer["evict"]
    ]
    if answer["drains"]:
        lines.append("Requests that run on them would be finished first.")
    if answer["eta_seconds"] is not None:
        lines.append(f"Ready in about {duration(answer['eta_seconds'])}.")
    return lines


def estimate_lines(told: Mapping[str, object]) -> list[Part]:
    """Of `orchestrator estimate`: how much lies where, and what is not certain about it."""

    def mib(key: str) -> str:
        amount = told[key]
        return f"{amount:,.1f} MiB" if isinstance(amount, float) else UNKNOWN

    rows = [
        ("weights", mib("weights_mib")),
        ("context", mib("context_mib")),
        ("compute", mib("compute_mib")),
        ("on the GPU", mib("device_mib")),
        ("the driver's part", mib("overhead_mib")),
        ("on the host", mib("host_mib")),
    ]
    doubts = told["doubts"]
    said = [str(doubt) for doubt in doubts] if isinstance(doubts, list) else []
    return [
        f"{told['architecture']}, by its {told['method']}",
        table(("", "needs"), rows, right="needs"),
        *(f"Not certain: {doubt}." for doubt in said),
    ]


def findings_lines(findings: Iterable[Finding]) -> list[Part]:
    """Of `orchestrator doctor`: one row for every thing that it looked at, its remedy below it."""
    rows = (
        row
        for found in findings
        for row in (
            (found.verdict, found.what, found.detail),
            *((("", "", f"→ {found.remedy}"),) if found.remedy else ()),
        )
    )
    return [table(("", "", ""), rows)]


def pinned_lines(answer: Pinned) -> list[str]:
    return [f"{answer['model']} is {'pinned' if answer['pinned'] else 'not pinned any more'}."]


def reloaded_lines(answer: Reloaded) -> list[str]:
    changed = answer["changed"]
    lines = [f"Changed: {joined(changed)}." if changed else "Nothing has changed."]
    if changed_at := answer.get("file_changed_at"):
        at = f"{_instant(changed_at).astimezone():%Y-%m-%d %H:%M:%S}"
        lines.append(f"{answer['file']} was last changed at {at}.")
    if answer["restart_needed"]:
        lines.append(f"Needs a restart of the daemon: {joined(answer['restart_needed'])}.")
    return lines


def error_lines(body: Mapping[str, object]) -> list[str]:
    """What helps of an error's body: the cause, what is in the way, the log, the way out."""
    lines = [str(body.get("detail") or body.get("title") or "The daemon refused.")]
    blockers = body.get("blockers")
    for blocker in blockers if isinstance(blockers, list) else []:
        if isinstance(blocker, dict):
            held = blocker.get("held_mb")
            held = size(held) if isinstance(held, int) else UNKNOWN
            who = blocker.get("model") or "others"
            lines.append(f"  {who}: {held} on {blocker.get('device')}: {blocker.get('why')}")
    log_tail = body.get("log_tail")
    if isinstance(log_tail, list) and log_tail:
        lines.append("The last lines of its log:")
        lines += [f"  {line}" for line in log_tail[-LOG_LINES_SHOWN_MAX:]]
    if remedy := body.get("remedy"):
        lines.append(in_terminal(str(remedy)))
    return lines


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
