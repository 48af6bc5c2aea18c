"""What the operator reports fits the status that the CRD has: one that it lacks would be lost without a word."""

from forebay.api.v1alpha1.gpunodepool_status import GPUNodePoolStatus
from forebay.api.v1alpha1.inferencepool_status import InferencePoolStatus
from forebay.flow.decision import PoolDecision, Reason, ReasonCode, Step, VariantDecision
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.forecast import DemandForecast, ForecastScore, Quantiles
from forebay.flow.observation import NodePoolObservation, PoolObservation, VariantObservation
from forebay.runtime.cluster.leadtime import LeadTimeQuantiles
from forebay.runtime.cluster.writes import LastWrite
from forebay.runtime.report.columns import node_pool_status, pool_report
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
    verdicts = judge(observed, decision, target_problems=(LONG,), reference_problems=(LONG,), obstacles=(LONG,))
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


def test_a_full_report_of_a_node_pool_fits() -> None:
    times = LeadTimeQuantiles(p50_seconds=300.0, p90_seconds=600.0, p99_seconds=900.0, observed=7)
    observed = NodePoolObservation(
        name="h100",
        nodes=3,
        usable_gpus=16,
        free_gpus=2,
        provisioning_nodes=1,
        blocked_until_seconds=1e9,
        blocked_reason="no node came within its deadline",
    )
    status = node_pool_status(
        observed, generation=2, node=times, start_up=times, total=times, previous={}, now_seconds=1e9
    )
    parsed = GPUNodePoolStatus.model_validate(status)
    assert parsed.model_dump(mode="json", by_alias=True, exclude_unset=True) == status
