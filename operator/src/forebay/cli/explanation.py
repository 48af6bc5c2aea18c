"""An explanation of one pool, as text for a person or as JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from forebay.flow.fleet import PoolKey

_STEP_WIDTH = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A pool as the API server has it, and the operator's record of its last decision."""

    pool: PoolKey
    resource: Mapping[str, Any]
    record: Mapping[str, Any] | None
    record_missing: str

    def as_json(self) -> dict[str, Any]:
        """Return everything, for programs."""
        return {
            "pool": str(self.pool),
            "mode": self.resource.get("spec", {}).get("mode"),
            "status": self.resource.get("status", {}),
            "record": self.record,
        }


def as_text(explanation: Explanation, *, colour: bool) -> str:
    """Return the explanation in plain words; colours only where asked for."""
    text = "\n".join(_lines(explanation))
    return f"{text if colour else click.unstyle(text)}\n"


def _lines(explanation: Explanation) -> Iterator[str]:
    status = explanation.resource.get("status") or {}
    mode = explanation.resource.get("spec", {}).get("mode", "Recommend")
    yield click.style(f"{explanation.pool}", bold=True) + f"  mode {mode}"
    if not status:
        yield "Forebay has not looked at this pool yet. Is the operator running, and does its selector match?"
        return
    yield from _now(status, mode)
    yield from _attention(status, mode)
    if explanation.record is None:
        yield from _compact(status, explanation.record_missing)
    else:
        yield from _steps(explanation.record)
        yield from _alternatives(explanation.record)
        yield from _actions(explanation.record)


def _now(status: Mapping[str, Any], mode: str) -> Iterator[str]:
    summary = status.get("summary") or {}
    yield f"  replicas     {summary.get('replicas', '?')} ready/desired"
    recommended = summary.get("recommended", "?")
    yield f"  recommended  {recommended}" + ("" if mode == "Auto" else f"  (mode {mode} writes no replicas)")
    facts = {
        "demand": summary.get("demand"),
        "SLO met": status.get("sloAttainment"),
        "budget left": status.get("errorBudgetLeft"),
        "over time": _over_time(status),
        "last hour": _last_hour(status),
        "cost": f"{summary['cost']} $/h" if "cost" in summary else None,
        "lead time": f"{status['leadTime']} from order to ready (p90)" if "leadTime" in status else None,
    }
    for name, value in facts.items():
        if value is not None:
            yield f"  {name:<12} {value}"
    if status.get("message"):
        yield ""
        yield click.style("Why: ", bold=True) + str(status["message"])


def _over_time(status: Mapping[str, Any]) -> str | None:
    windows = status.get("attainment") or ()
    return ", ".join(f"{each['window']} {each['met']} (burn rate {each['burnRate']})" for each in windows) or None


def _last_hour(status: Mapping[str, Any]) -> str | None:
    if "actionsLastHour" not in status:
        return None
    actions, cancelled = status["actionsLastHour"], status.get("cancelledLastHour", 0)
    return f"{actions} scaling actions, {cancelled} replicas taken back before they were ready"


def _attention(status: Mapping[str, Any], mode: str) -> Iterator[str]:
    """Yield the conditions that ask for somebody."""
    good = {"Conflicted": "False", "ScalingLimited": "False"}
    bad = [
        condition
        for condition in status.get("conditions") or ()
        if condition.get("status") != good.get(condition.get("type"), "True")
        # What is only recommended differs by design.
        and (mode == "Auto" or condition.get("type") != "AsRecommended")
    ]
    if bad:
        yield ""
        yield click.style("Needs attention:", bold=True)
    for condition in bad:
        yield f"  {click.style(condition['type'], fg='yellow')} {condition['reason']}: {condition['message']}"


def _steps(record: Mapping[str, Any]) -> Iterator[str]:
    decision = record["decision"]
    at = datetime.fromtimestamp(float(decision["at_seconds"]), tz=UTC)
    yield ""
    yield click.style(f"How it came about ({at:%Y-%m-%d %H:%M:%S} UTC):", bold=True)
    for reason in decision["reasons"]:
        mark = click.style("*", fg="green") if reason["changed"] else " "
        yield f" {mark}{reason['step']:<{_STEP_WIDTH}} {_of_its_role(reason)} [{reason['code']}]"
    if any(reason["changed"] for reason in decision["reasons"]):
        yield "  (* changed the number that the steps before it proposed)"


def _of_its_role(reason: Mapping[str, Any]) -> str:
    """Return the reason's sentence with its role before it, which many sentences begin with by themselves."""
    role, message = reason["role"], str(reason["message"])
    return message if not role or message.startswith(f"{role}: ") else f"{role}: {message}"


def _alternatives(record: Mapping[str, Any]) -> Iterator[str]:
    alternatives = record["decision"]["alternatives"]
    if alternatives:
        yield ""
        yield click.style("Considered and rejected:", bold=True)
    for item in alternatives:
        price = "" if item["usd_per_hour"] is None else f" at {item['usd_per_hour']:.2f} $/h"
        misses = item["expected_miss_share"]
        share = "" if misses is None else f", {_percent(100 * misses)} expected misses"
        yield f"  {item['description']}{price}{share}: {item['why_not']}"


def _percent(value: float) -> str:
    """Return a share in per cent, as coarse as it is worth: no one counts less than a hundredth of a per cent."""
    if 0.0 < value < 0.01:
        return "less than 0.01 %"
    return f"{value:.0f} %" if value >= 10.0 else f"{value:.2g} %"


def _actions(record: Mapping[str, Any]) -> Iterator[str]:
    if record["actions"]:
        yield ""
        yield click.style("Writes of this round:", bold=True)
    for action in record["actions"]:
        done = "written" if action["result"] == "Written" else f"tried, not written ({action['result']})"
        yield f"  {action['target']}: {action['from']} -> {action['to']}, {done}. {action['message']}"


def _compact(status: Mapping[str, Any], why_not: str) -> Iterator[str]:
    last = status.get("lastDecision")
    yield ""
    if last:
        yield click.style(f"Last change, {last.get('time')}:", bold=True)
        yield f"  {', '.join(last.get('changes') or ())}"
        yield f"  {last.get('message')} [{last.get('reason')}]"
    yield f"Only what the status holds: {why_not}. Use --operator-url for the whole record."
