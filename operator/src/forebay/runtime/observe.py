"""Join what the cluster shows with what the telemetry measured: the observation that the pipeline decides on."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from forebay.api.v1alpha1.fleetpolicy import FleetPolicy, FleetPolicySpec
from forebay.flow.fleet import Fleet, GpuQuota, PoolKey
from forebay.flow.observation import (
    FleetObservation,
    Freshness,
    Note,
    PoolObservation,
    Problem,
    VariantObservation,
)
from forebay.forecast.future import OutsideForecast
from forebay.runtime.cluster.look import Look, PoolLook, node_pools_of
from forebay.telemetry.source import PodName, PoolTarget, PoolTelemetry, WorkloadTarget

_NOTHING: Mapping[PodName, float] = MappingProxyType({})
_FORECAST_REACH_SECONDS = 6 * 3600.0


def telemetry_target(look: PoolLook) -> PoolTarget:
    """Return what the telemetry has to look for of one pool."""
    entry = look.entry
    seen = {each.key: each for each in look.variants}
    return PoolTarget(
        key=entry.pool.key,
        slo=entry.pool.slo,
        engine=entry.engine,
        metric_prefix=entry.metric_prefix,
        workloads=tuple(
            WorkloadTarget(
                variant=variant.key,
                role=variant.role,
                name=entry.targets[variant.key].name,
                kind=entry.targets[variant.key].kind,
                ready_replicas=seen[variant.key].ready if variant.key in seen else None,
                most_replicas=seen[variant.key].existing if variant.key in seen else None,
            )
            for variant in entry.pool.variants
        ),
        labels=entry.series_labels,
        gateway=entry.gateway,
        forecast_query=entry.forecast_query,
    )


def pool_observation(look: PoolLook, measured: PoolTelemetry | None, now_seconds: float) -> PoolObservation:
    """Return the observation of one pool; without telemetry all signals are unreachable, never zero."""
    if measured is None:
        return PoolObservation(
            key=look.entry.pool.key,
            at_seconds=now_seconds,
            traffic=None,
            variants=look.variants,
            freshness=(Freshness(signal="telemetry", problem=Problem.UNREACHABLE),),
        )
    return PoolObservation(
        key=look.entry.pool.key,
        at_seconds=now_seconds,
        traffic=measured.traffic,
        variants=tuple(replace(seen, engine=measured.engines.get(seen.key)) for seen in look.variants),
        waiting_prefill=measured.waiting_prefill,
        waiting_decode=measured.waiting_decode,
        finished=measured.finished,
        missed=measured.missed,
        missed_ttft=measured.missed_ttft,
        missed_range=measured.missed_range,
        ttft_seconds=measured.ttft_seconds,
        itl_seconds=measured.itl_seconds,
        freshness=measured.freshness,
    )


def fleet_of(look: Look, policy: FleetPolicy | None) -> Fleet:
    """Return the pools and node pools of a look, with the limits that an administrator sets."""
    spec = policy.spec if policy is not None else FleetPolicySpec()
    return Fleet(
        pools={pool.entry.pool.key: pool.entry.pool for pool in look.pools},
        node_pools=node_pools_of(look),
        budget_usd_per_hour=spec.budget_per_hour.value if spec.budget_per_hour is not None else None,
        power_limit_watts=spec.power_limit_watts,
        quotas=tuple(
            GpuQuota(
                source=f"the rule {rule.name} of the FleetPolicy",
                gpus=rule.max_gpus,
                pools=frozenset(pool.entry.pool.key for pool in look.pools if pool.entry.tenant == rule.name),
            )
            for rule in spec.tenants
            if rule.max_gpus is not None
        ),
    )


def fleet_observation(
    look: Look,
    measured: Mapping[PoolKey, PoolTelemetry],
    parked_requests: Mapping[PodName, float] = _NOTHING,
) -> FleetObservation:
    """Return everything observed in one round."""
    pools = {}
    for pool in look.pools:
        key = pool.entry.pool.key
        seen = pool_observation(pool, measured.get(key), look.at_seconds)
        if any(variant.parked for variant in seen.variants):
            variants = tuple(_told_of_parked(variant, pool, parked_requests) for variant in seen.variants)
            seen = replace(seen, variants=variants)
        pools[key] = seen
    return FleetObservation(
        at_seconds=look.at_seconds,
        pools=pools,
        node_pools={pool.entry.node_pool.name: pool.observed for pool in look.node_pools},
    )


def _told_of_parked(
    variant: VariantObservation, look: PoolLook, held: Mapping[PodName, float]
) -> VariantObservation:
    """Return a variant with what its parked replicas hold, and a word where its grace is too short for it."""
    if not variant.parked:
        return variant
    namespace, workload = look.entry.pool.key.namespace, look.workloads[variant.key]
    parked = tuple(replace(each, requests=held.get((namespace, each.name))) for each in variant.parked)
    longest = max((look.at_seconds - each.since_seconds for each in parked if each.requests), default=0.0)
    notes = variant.notes
    if longest > workload.grace_seconds:
        message = (
            f"Answers of {workload.target.kind} {workload.target.name} take longer than its pods are given to end"
            f" ({workload.grace_seconds:.0f} s): raise terminationGracePeriodSeconds, and let preStop wait for it."
        )
        notes = (*notes, Note("GraceTooShort", message))
    return replace(variant, parked=parked, notes=notes)


def attainments_left(look: Look, decided: Collection[PoolKey]) -> dict[PoolKey, tuple[float, float]]:
    """Return the misses and finished requests in the statuses of pools about which nothing was decided yet."""
    found = {}
    for pool in look.pools:
        missed, finished = (pool.entry.record.status.get(name) for name in ("sloMissed", "sloRequests"))
        if pool.entry.pool.key not in decided and isinstance(missed, int) and isinstance(finished, int):
            found[pool.entry.pool.key] = (float(missed), float(finished))
    return found


def external_forecasts(
    look: Look, measured: Mapping[PoolKey, PoolTelemetry]
) -> dict[PoolKey, OutsideForecast | None]:
    """Return the users' own forecasts, of the pools that have one; None where it could not be read."""
    return {
        pool.entry.pool.key: _external_forecast(measured.get(pool.entry.pool.key), look.at_seconds)
        for pool in look.pools
        if pool.entry.forecast_query is not None
    }


def _external_forecast(measured: PoolTelemetry | None, now_seconds: float) -> OutsideForecast | None:
    """Return a user's own forecast as the pipeline takes it: the same level at all times."""
    if measured is None or measured.external_forecast is None:
        return None
    level = measured.external_forecast.requests_per_second
    return OutsideForecast(
        target_seconds=np.array([now_seconds - _FORECAST_REACH_SECONDS, now_seconds + _FORECAST_REACH_SECONDS]),
        requests_per_second=np.array([level, level]),
    )
