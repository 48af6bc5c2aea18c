"""What a status says of one node pool: nodes by state, GPUs, cost, lead times, and why no node can be had."""

from collections.abc import Mapping, Sequence
from typing import Any

from forebay.actuation.providers.sight import NodeStates, Word
from forebay.flow.observation import NodePoolObservation
from forebay.runtime.cluster.look import NodePoolLook
from forebay.runtime.report.columns import StatusReport
from forebay.runtime.report.conditions import Type, Verdict, stamp
from forebay.runtime.report.text import duration, shorten, timestamp

_LONGEST_SENTENCE = 512


def node_pool_report(look: NodePoolLook, *, now_seconds: float) -> StatusReport:
    """Return the status of a node pool after a round."""
    observed, situation, record = look.observed, look.situation, look.entry.record
    conditions, transitions = stamp(
        (_ready(observed), _provided(situation.sight.problem)),
        record.status.get("conditions") or (),
        generation=record.generation,
        now_seconds=now_seconds,
    )
    usd, blocked = look.usd_per_hour, observed.blocked_until_seconds
    status: dict[str, Any] = {
        "observedGeneration": record.generation,
        "nodes": observed.nodes,
        "states": _states(situation.states),
        "usableGPUs": observed.usable_gpus,
        "freeGPUs": observed.free_gpus,
        "provisioning": observed.provisioning_nodes,
        "asked": situation.sight.asked,
        "costPerHour": None if usd is None else f"{usd:.2f}",
        "leadTime": _lead_time(look),
        "blockedUntil": None if blocked is None else timestamp(blocked),
        "blockedReason": shorten(observed.blocked_reason, _LONGEST_SENTENCE) or None,
        "lastFailure": _failure(look.last_failure) or record.status.get("lastFailure"),
        "conditions": conditions,
    }
    return StatusReport(
        status={key: value for key, value in status.items() if value is not None},
        transitions=tuple(transitions),
    )


def _states(states: NodeStates) -> list[dict[str, Any]]:
    return [
        {
            "state": state.value,
            "nodes": found.nodes,
            **({} if found.since_seconds is None else {"since": timestamp(found.since_seconds)}),
        }
        for state, found in states.by_state.items()
    ]


def _lead_time(look: NodePoolLook) -> Sequence[Mapping[str, Any]]:
    phases = {**look.phases, "node": look.node, "startup": look.start_up, "total": look.total}
    return [
        {
            "phase": phase,
            "p50": duration(times.p50_seconds),
            "p90": duration(times.p90_seconds),
            "samples": times.observed,
        }
        for phase, times in phases.items()
        if times is not None
    ]


def _failure(word: Word | None) -> dict[str, str] | None:
    if word is None:
        return None
    return {
        "time": timestamp(word.at_seconds),
        "reason": word.cause.value,
        "message": shorten(word.message, _LONGEST_SENTENCE),
    }


def _ready(observed: NodePoolObservation) -> Verdict:
    if observed.blocked_until_seconds is not None:
        return Verdict(Type.READY, status=False, reason="Blocked", message=observed.blocked_reason)
    if observed.nodes == 0:
        message = "No node matches nodeSelector (none exists yet, or a label differs)."
        return Verdict(Type.READY, status=False, reason="NoNodes", message=message)
    if observed.usable_gpus == 0:
        message = "No node offers GPUs: check that nodes are Ready and the device plugin runs."
        return Verdict(Type.READY, status=False, reason="NoUsableGpus", message=message)
    return Verdict(Type.READY, status=True, reason="Usable", message="GPUs can be used.")


def _provided(problem: str) -> Verdict:
    if problem:
        return Verdict(Type.PROVIDED, status=False, reason="ProviderFailed", message=problem)
    return Verdict(Type.PROVIDED, status=True, reason="AsAsked", message="The provider does what it is asked.")
