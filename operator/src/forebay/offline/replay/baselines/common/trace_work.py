"""Work in a recorded trace: mean lengths, the busiest minute, and the fleet for it."""

import numpy as np

from forebay.flow.fleet import Role, VariantKey
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.replay.baselines.common.workload import Workload, workload
from forebay.offline.replay.baselines.registry import PoolFacts
from forebay.sizing.work import Lengths

_MINUTE_SECONDS = 60.0
_OUTPUT_SHARE_IN_CONTEXT = 0.9
_EARLY_SECONDS = 1800.0
_EARLY_MARGIN = 1.2
_EARLY_UTILISATION = 0.8


def uncached_tokens(trace: RequestTrace) -> FloatArray:
    """Return the prompt tokens that a prefix cache does not answer, per request."""
    tokens = trace.input_tokens.astype(np.float64)
    return tokens if trace.cached_tokens is None else np.maximum(0.0, tokens - trace.cached_tokens)


def lengths_of(trace: RequestTrace) -> Lengths:
    """Return the mean lengths of a whole trace."""
    inputs, output = uncached_tokens(trace), float(trace.output_tokens.mean())
    return Lengths(
        float(inputs.mean()),
        output,
        float(trace.input_tokens.mean()) + _OUTPUT_SHARE_IN_CONTEXT * output,
        tuple(float(q) for q in np.quantile(inputs, (np.arange(10) + 0.5) / 10)),
    )


def work_share(trace: RequestTrace, role: Role) -> FloatArray:
    """Return what each request costs in ``role``, relative to the mean request."""
    if role is Role.DECODE:
        cost = trace.output_tokens.astype(np.float64)
    elif role is Role.PREFILL:
        cost = uncached_tokens(trace)
    else:
        cost = np.ones(len(trace))
    mean = float(cost.mean())
    return cost / mean if mean > 0.0 else np.ones(len(trace))


def busiest_minute(facts: PoolFacts, trace: RequestTrace) -> dict[VariantKey, float]:
    """Return per variant the replicas that the busiest minute keeps busy, were it alone in its role."""
    lengths = lengths_of(trace)
    busy: dict[VariantKey, float] = {}
    for role in facts.pool.roles:
        load = workload(facts, role, lengths)
        erlangs = _busiest_erlangs(load, trace)
        busy.update({name: erlangs / speed for name, speed in load.speed.items()})
    return busy


def fleet_for_busiest_minute(facts: PoolFacts, trace: RequestTrace, utilisation: float) -> dict[VariantKey, int]:
    """Return the replicas that the work of the busiest minute uses to the share ``utilisation``."""
    lengths = lengths_of(trace)
    counts: dict[VariantKey, int] = {}
    for role in facts.pool.roles:
        load = workload(facts, role, lengths)
        counts.update(load.fill(max(1.0, _busiest_erlangs(load, trace) / utilisation)))
    return counts


def _busiest_erlangs(load: Workload, trace: RequestTrace) -> float:
    """Return the reference replicas that the work of the busiest minute keeps busy."""
    minute = (trace.arrival_seconds // _MINUTE_SECONDS).astype(np.int64)
    busiest = float(np.bincount(minute, weights=work_share(trace, load.role)).max())
    return busiest / _MINUTE_SECONDS * load.seconds_per_request


def starting_fleet(facts: PoolFacts, trace: RequestTrace) -> dict[VariantKey, int]:
    """Return a sensible fleet at time 0: 1.2 times the busiest minute of the first half hour, at 80 % use."""
    count = int(trace.arrival_seconds.searchsorted(_EARLY_SECONDS))
    if count == 0:
        return {variant.key: max(1, variant.min_replicas) for variant in facts.pool.variants}
    early = RequestTrace(
        name=trace.name,
        arrival_seconds=trace.arrival_seconds[:count],
        input_tokens=trace.input_tokens[:count],
        output_tokens=trace.output_tokens[:count],
        cached_tokens=None if trace.cached_tokens is None else trace.cached_tokens[:count],
    )
    return fleet_for_busiest_minute(facts, early, _EARLY_UTILISATION / _EARLY_MARGIN)
