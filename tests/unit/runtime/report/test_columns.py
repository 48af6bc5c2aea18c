"""What the status says: conditions with their times, columns, and the sentence to read first."""

from dataclasses import replace
from typing import Any

import pytest

from forebay.api.v1alpha1.inferencepool import Mode
from forebay.api.v1alpha1.inferencepool_status import InferencePoolStatus
from forebay.flow.decision import PoolDecision, Reason, ReasonCode, Step, VariantDecision, WindowAttainment
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.forecast import DemandForecast, Quantiles
from forebay.flow.observation import (
    Freshness,
    PoolObservation,
    Problem,
    StartingReplica,
    VariantObservation,
)
from forebay.runtime.cluster.writes import LastWrite
from forebay.runtime.report.columns import invalid_report, pool_report
from forebay.runtime.report.conditions import Verdict, invalid, judge
from tests.keys import prefill

PREFILL = prefill("h100")

NOW = 1_795_132_800.0
KEY = PoolKey("serving", "chat")
OBSERVED = PoolObservation(
    key=KEY,
    at_seconds=NOW,
    traffic=None,
    variants=(
        VariantObservation(name="h100", role=Role.PREFILL, desired=2, ready=2, lead_time_seconds=250.0),
        VariantObservation(
            name="h100", role=Role.DECODE, desired=4, ready=3, starting=(StartingReplica(NOW, NOW + 60),)
        ),
    ),
)
DECISION = PoolDecision(
    key=KEY,
    at_seconds=NOW,
    variants=(
        VariantDecision(name="h100", role=Role.PREFILL, current=2, desired=3),
        VariantDecision(name="h100", role=Role.DECODE, current=4, desired=4),
    ),
    reasons=(
        Reason(
            step=Step.SIZE,
            code=ReasonCode.SIZED,
            message="prefill needs 3 replicas.",
            role=Role.PREFILL,
            changed=True,
        ),
        Reason(step=Step.SIZE, code=ReasonCode.SIZED, message="decode is fine.", role=Role.DECODE),
    ),
    demand_requests_per_second=12.13,
    forecasts={
        Role.PREFILL: DemandForecast(
            lead_time_seconds=250.0,
            at_horizon=Quantiles(13.0, 15.8, 20.0),
            maximum=Quantiles(14.0, 16.0, 21.0),
            rate_cap=40.0,
            now=12.13,
        )
    },
    slo_attainment=0.9923,
    error_budget_left=0.7,
    windows={"1h": WindowAttainment(attainment=0.981, burn_rate=1.9)},
    actions_last_hour=3,
    cancelled_last_hour=1,
    usd_per_hour=12.5,
    capacity_source={PREFILL: "profile"},
)


def verdicts(
    observed: PoolObservation = OBSERVED, decision: PoolDecision = DECISION, **more: Any
) -> dict[str, Verdict]:
    given = {"mode": Mode.AUTO, "target_problems": (), "reference_problems": (), "obstacles": (), **more}
    return {verdict.type.value: verdict for verdict in judge(observed, decision, **given)}


def test_what_was_written_last_is_kept_for_the_next_process() -> None:
    roles = status(last_written={PREFILL: LastWrite(4)})["roles"]
    assert {role["role"]: role["variants"][0].get("lastWritten") for role in roles} == {
        "prefill": 4,
        "decode": None,
    }


def status(
    previous: dict[str, Any] | None = None, decision: PoolDecision = DECISION, **more: Any
) -> dict[str, Any]:
    found = tuple(verdicts(decision=decision).values())
    given = {"generation": 3, "last_written": {}, "scaled": True, "usd_per_hour": 10.0, **more}
    return pool_report(previous or {}, OBSERVED, decision, found, **given).status


def test_the_status_fits_its_own_schema_and_tells_on_call_what_matters() -> None:
    rendered = status()
    InferencePoolStatus.model_validate(rendered)
    assert rendered["summary"] == {
        "replicas": "P 2/2 D 3/4",
        "recommended": "P 3 D 4",
        "demand": "12.1 -> 15.8/s",
        "cost": "10.00 -> 12.50",
        "why": "prefill needs 3 replicas.",
    }
    assert (rendered["sloAttainment"], rendered["costPerHour"], rendered["leadTime"]) == (
        "99.2%",
        "10.00",
        "4m10s",
    )
    assert rendered["recommendedCostPerHour"] == "12.50"
    assert rendered["attainment"] == [{"window": "1h", "met": "98.1%", "burnRate": "1.9"}]
    assert (rendered["actionsLastHour"], rendered["cancelledLastHour"]) == (3, 1)
    assert rendered["lastDecision"]["changes"] == ["prefill/h100 2 -> 3"]
    assert rendered["roles"][0]["variants"][0]["capacity"] == "profile"


def test_transition_times_move_with_the_status_only() -> None:
    first = status()
    later = replace(DECISION, at_seconds=NOW + 100)
    second = status(first, later, scaled=False)
    assert second["conditions"] == first["conditions"]
    assert second["lastScaleTime"] == first["lastScaleTime"]


def test_the_last_change_stays_while_nothing_changes() -> None:
    first = status()
    settled = replace(DECISION, variants=tuple(replace(v, current=v.desired) for v in DECISION.variants))
    assert status(first, settled)["lastDecision"] == first["lastDecision"]


def test_unknown_figures_are_left_out() -> None:
    blind = replace(
        DECISION, demand_requests_per_second=None, forecasts={}, slo_attainment=None, usd_per_hour=None
    )
    rendered = status(None, blind, usd_per_hour=None)
    assert not {"sloAttainment", "costPerHour", "recommendedCostPerHour", "forecast"} & rendered.keys()
    assert not {"demand", "cost"} & rendered["summary"].keys()


def test_what_only_would_change_does_not_read_as_if_done() -> None:
    assert status(acts=False)["lastDecision"]["changes"] == ["prefill/h100 2 -> 3 (recommended)"]


def test_a_missing_target_is_not_hidden_behind_what_the_metrics_lack() -> None:
    blind = Reason(
        step=Step.OBSERVE, code=ReasonCode.TELEMETRY_MISSING, message="arrivals are unknown", changed=True
    )
    found = tuple(verdicts(target_problems=["Deployment chat does not exist: create it."]).values())
    decision = replace(DECISION, reasons=(blind,))
    rendered = pool_report({}, OBSERVED, decision, found, generation=1, last_written={}, scaled=False).status
    assert rendered["summary"]["why"] == rendered["message"] == "Deployment chat does not exist: create it."


def test_metrics_are_fresh_or_not_whatever_else_holds_capacity() -> None:
    stale = replace(OBSERVED, freshness=(Freshness(signal="arrivals", problem=Problem.STALE),))
    blind = Reason(step=Step.OBSERVE, code=ReasonCode.TELEMETRY_MISSING, message="arrivals are stale")
    lost = verdicts(stale, replace(DECISION, held=True, reasons=(blind,)))["MetricsFresh"]
    assert (lost.status, lost.reason) == (False, "Stale")
    assert "arrivals" in lost.message
    assert verdicts(stale, replace(DECISION, held=True))["MetricsFresh"].status is True, "a restart, a queue"


def test_one_outage_is_told_once() -> None:
    signals = [Freshness(signal=name, problem=Problem.UNREACHABLE, detail="it is away") for name in "abcde"]
    blind = Reason(step=Step.OBSERVE, code=ReasonCode.TELEMETRY_MISSING, message="lost")
    verdict = verdicts(replace(OBSERVED, freshness=tuple(signals)), replace(DECISION, reasons=(blind,)))
    expected = "No replica is released until these return: a, b, c, d, e (Unreachable: it is away)."
    assert verdict["MetricsFresh"].message == expected


@pytest.mark.parametrize(
    ("problem", "kind", "reason"),
    [
        ({"target_problems": ["x is gone."]}, "TargetsFound", "TargetMissing"),
        ({"reference_problems": ["no y."]}, "ReferencesFound", "ReferenceMissing"),
        ({"obstacles": ["forbidden."]}, "ScalingLimited", "WriteFailed"),
    ],
)
def test_each_trouble_has_its_condition(problem: dict[str, Any], kind: str, reason: str) -> None:
    verdict = verdicts(**problem)[kind]
    assert verdict.reason == reason
    assert verdict.message == next(iter(problem.values()))[0]
    assert verdicts()[kind].reason != reason


def test_each_of_several_sentences_ends() -> None:
    found = verdicts(reference_problems=("one is missing; create it", "The other is, too."))
    assert found["ReferencesFound"].message == "one is missing; create it. The other is, too."


def test_a_conflict_is_true_and_names_the_other() -> None:
    contested = replace(
        OBSERVED, variants=(replace(OBSERVED.variants[0], conflict="HPA x."), OBSERVED.variants[1])
    )
    verdict = verdicts(contested)["Conflicted"]
    assert (verdict.status, verdict.message) == (True, "HPA x.")


def test_an_invalid_spec_changes_readiness_and_leaves_the_rest() -> None:
    before = status()
    report = invalid_report(before, invalid("maxReplicas is wrong."), generation=4, now_seconds=NOW + 5)
    InferencePoolStatus.model_validate(report.status)
    conditions = {item["type"]: item for item in report.status["conditions"]}
    assert conditions["Ready"]["reason"] == "InvalidSpec"
    assert conditions["MetricsFresh"] == next(c for c in before["conditions"] if c["type"] == "MetricsFresh")
    assert report.status["roles"] == before["roles"]
