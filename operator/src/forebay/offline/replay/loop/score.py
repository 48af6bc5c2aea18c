"""The score of a run: attainment, latency, money, energy, actions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forebay.flow.fleet import Pool, PoolKey
from forebay.flow.roles import ROLES
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.replay.loop.bill import SECONDS_PER_HOUR, bill
from forebay.offline.replay.loop.closed_loop import PolicyRun
from forebay.offline.replay.loop.scenario import NOT_SCORED_SECONDS, Scenario
from forebay.offline.simulation import SimulationResult

WINDOW_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyScore:
    """The figures of one policy over one scenario, all pools together."""

    name: str
    knob: float | None
    slo_attainment: float
    """Share of the requests that an idle fleet could have served within the SLO."""
    ttft_p50_seconds: float
    ttft_p99_seconds: float
    itl_p99_seconds: float
    goodput_requests_per_second: float
    """Requests within the SLO per second."""
    unserved_requests: int
    gpu_hours: float
    cost_usd: float
    """The bill: whole nodes where they are billed by the node, else replicas."""
    energy_kwh: float | None
    scale_actions_per_hour: float
    worst_window_attainment: float
    """Attainment in the worst ten minutes."""
    meets_target: bool
    """Every pool reached its target."""
    attainment_by_pool: Mapping[str, float]
    target: float = 0.0
    """Attainment that the SLO asks for, the strictest of the pools."""
    orders: int = 0
    """Replicas ordered after the start."""
    cancelled_orders: int = 0
    """Of these, those taken back before they were ready."""
    cut_off: int = 0
    """Requests that began again because their replica's time to end was over."""
    taken_back: int = 0
    """Parked replicas that took traffic again."""
    node_hours: float = 0.0
    """Of nodes that are billed by the node."""
    nodes_launched: int = 0
    """After the start."""
    nodes_unused: int = 0
    """Of these, nodes given back without a replica ever having started on them."""
    cost_over_oracle: float | None = None
    wall_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdicts:
    """Per request of one pool: whether it counts, could be served in time, and was."""

    scored: np.ndarray[tuple[int], np.dtype[np.bool_]]
    servable: np.ndarray[tuple[int], np.dtype[np.bool_]]
    met: np.ndarray[tuple[int], np.dtype[np.bool_]]

    @property
    def attainment(self) -> float:
        """Return the share of servable requests that met the SLO; 1 without any."""
        servable = int(self.servable.sum())
        return float((self.met & self.servable).sum() / servable) if servable else 1.0


def verdicts(scenario: Scenario, key: PoolKey, result: SimulationResult) -> Verdicts:
    """Judge every request of one pool against its SLO."""
    pool, trace = scenario.fleet.pools[key], scenario.traces[key]
    scored = trace.arrival_seconds < max(trace.span_seconds - NOT_SCORED_SECONDS, 1.0)
    alone = _fastest_prefill_seconds(scenario, pool, trace)
    met = (result.ttft_seconds <= pool.slo.ttft_seconds) & (result.itl_seconds <= pool.slo.itl_seconds)
    return Verdicts(scored=scored, servable=scored & (alone <= pool.slo.ttft_seconds), met=scored & met)


def _fastest_prefill_seconds(scenario: Scenario, pool: Pool, trace: RequestTrace) -> FloatArray:
    tokens = trace.input_tokens.astype(np.float64)
    if scenario.options.prefix_cache and trace.cached_tokens is not None:
        tokens = np.maximum(0.0, tokens - trace.cached_tokens)
    speeds = [
        scenario.performance[pool.key][variant.key] for variant in pool.variants if ROLES[variant.role].prefills
    ]
    times = [s.prefill_base_seconds + s.prefill_seconds_per_token * tokens for s in speeds]
    return np.asarray(np.min(times, axis=0))


def score(scenario: Scenario, run: PolicyRun) -> PolicyScore:
    """Return the figures of ``run``."""
    judged = {key: verdicts(scenario, key, result) for key, result in run.results.items()}
    ttft = np.concatenate([run.results[key].ttft_seconds[v.scored] for key, v in judged.items()])
    itl = np.concatenate([run.results[key].itl_seconds[v.scored] for key, v in judged.items()])
    met = sum(int(v.met.sum()) for v in judged.values())
    servable = sum(int(v.servable.sum()) for v in judged.values())
    met_servable = sum(int((v.met & v.servable).sum()) for v in judged.values())
    hours = scenario.span_seconds / SECONDS_PER_HOUR
    money = bill(scenario, {key: result.replica_seconds for key, result in run.results.items()}, run.node_bills)
    by_pool = {str(key): v.attainment for key, v in judged.items()}
    return PolicyScore(
        name=run.policy,
        knob=run.knob,
        slo_attainment=met_servable / servable if servable else 1.0,
        ttft_p50_seconds=_quantile(ttft, 0.5),
        ttft_p99_seconds=_quantile(ttft, 0.99),
        itl_p99_seconds=_quantile(itl, 0.99),
        goodput_requests_per_second=met / max(1.0, scenario.span_seconds),
        unserved_requests=sum(result.unserved for result in run.results.values()),
        gpu_hours=money.gpu_hours,
        cost_usd=money.usd,
        energy_kwh=money.energy_kwh,
        scale_actions_per_hour=sum(len(r.actions) for r in run.results.values()) / max(1e-9, hours),
        worst_window_attainment=min(_worst_window(scenario.traces[k], v) for k, v in judged.items()),
        meets_target=all(v.attainment >= scenario.fleet.pools[k].slo.target for k, v in judged.items()),
        attainment_by_pool=by_pool,
        target=max(scenario.fleet.pools[key].slo.target for key in judged),
        orders=sum(result.orders for result in run.results.values()),
        cancelled_orders=sum(result.cancelled_orders for result in run.results.values()),
        cut_off=sum(result.cut_off for result in run.results.values()),
        taken_back=sum(result.taken_back for result in run.results.values()),
        node_hours=money.node_hours,
        nodes_launched=sum(nodes.launched for nodes in run.node_bills.values()),
        nodes_unused=sum(nodes.given_back_unused for nodes in run.node_bills.values()),
        wall_seconds=run.wall_seconds,
    )


def _quantile(values: FloatArray, share: float) -> float:
    """Return a quantile in which an unserved request (NaN) is later than any other."""
    if not len(values):
        return float("nan")
    ordered = np.sort(np.where(np.isnan(values), np.inf, values))
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])


def _worst_window(trace: RequestTrace, judged: Verdicts) -> float:
    window = (trace.arrival_seconds // WINDOW_SECONDS).astype(np.int64)
    if not judged.servable.any():
        return 1.0
    could = np.bincount(window[judged.servable])
    did = np.bincount(window[judged.servable & judged.met], minlength=len(could))
    return float((did[could > 0] / could[could > 0]).min())
