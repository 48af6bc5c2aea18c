"""What the operator reports fits the status that the CRD has: one that it lacks would be lost without a word."""

from forebay.api.v1alpha1.inferencepool import Mode
from forebay.api.v1alpha1.inferencepool_status import InferencePoolStatus
from forebay.flow.decision import PoolDecision, Reason, ReasonCode, Step, VariantDecision
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.forecast import DemandForecast, ForecastScore, Quantiles
from forebay.flow.observation import PoolObservation, VariantObservation
from forebay.runtime.cluster.writes import LastWrite
from forebay.runtime.report.columns import pool_report
from forebay.runtime.report.conditions import judge
from tests.keys import decode, prefill

PREFILL = prefill("h100")

KEY = PoolKey("serving", "chat")
LONG = "word " * 400


def test_a_full_report_of_a_pool_fits() -> None:
    quantiles = Quantiles(12.1, 15.8, 18.2)
    forecast = DemandForecast(
        lead_time_seconds=250.0,
        at_horizon=quantiles,
        maximum=quantiles,
        rate_cap=40.0,
        now=12.1,
        score=ForecastScore(
            scored=100, pinball90_ratio=0.82, pinball99_ratio=0.9, coverage90=0.9, coverage99=0.99
        ),
    )
    observed = PoolObservation(
        key=KEY,
        at_seconds=1e9,
        traffic=None,
        variants=tuple(
            VariantObservation(name="h100", role=role, desired=4, ready=3) for role in (Role.PREFILL, Role.DECODE)
        ),
    )
    decision = PoolDecision(
        key=KEY,
        at_seconds=1e9,
        variants=tuple(
            VariantDecision(name="h100", role=role, current=4, desired=5) for role in (Role.PREFILL, Role.DECODE)
        ),
        reasons=(Reason(step=Step.SIZE, code=ReasonCode.SIZED, message=LONG, changed=True),),
        forecasts={Role.PREFILL: forecast},
        demand_requests_per_second=12.1,
        slo_attainment=0.992,
        error_budget_left=-0.5,
        usd_per_hour=41.2,
        capacity_source={PREFILL: "profile-corrected"},
    )
    verdicts = judge(
        observed, decision, mode=Mode.AUTO, target_problems=(LONG,), reference_problems=(LONG,), obstacles=(LONG,)
    )
    report = pool_report(
        {},
        observed,
        decision,
        verdicts,
        generation=3,
        last_written=dict.fromkeys((PREFILL, decode("h100")), LastWrite(4, at_seconds=decision.at_seconds)),
        scaled=True,
    )
    parsed = InferencePoolStatus.model_validate(report.status)
    assert parsed.summary is not None
    assert parsed.summary.replicas == "P 3/4 D 3/4"
    assert parsed.model_dump(mode="json", by_alias=True, exclude_unset=True) == report.status
