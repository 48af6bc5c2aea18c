"""Share of requests that miss an objective when ``n`` replicas are offered ``a`` busy replicas of work."""

import numpy as np

from forebay.flow.fleet import Role, Slo
from forebay.sizing.work import FloatArray, ReplicaWork

_SQRT_TWO_PI = 2.5066282746310002
_LARGEST_BETA = 12.0
"""Halfin-Whitt slack beyond which nobody waits."""
_AT_ONCE = 20_000
_DECODE_EDGE = 0.985
"""Share of the edge batch that decode can hold on average: batches of replicas differ."""
_DECODE_IMBALANCE = 0.01

_ERFC_COEFFICIENTS = (
    0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807,
    -0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223,
)  # fmt: skip


def normal_cdf(x: FloatArray) -> FloatArray:
    """Return the standard normal distribution function.

    Chebyshev fit of erfc with a relative error below 1.2e-7 everywhere (Press et al., Numerical Recipes, 6.2).
    """
    z = np.abs(x) * 0.7071067811865476
    t = 1.0 / (1.0 + 0.5 * z)
    polynomial = np.full_like(t, _ERFC_COEFFICIENTS[0])
    for coefficient in _ERFC_COEFFICIENTS[1:]:
        polynomial = polynomial * t + coefficient
    half_erfc = 0.5 * t * np.exp(-z * z + polynomial)
    return np.where(x >= 0.0, 1.0 - half_erfc, half_erfc)


def prefill_miss(offered: FloatArray, replicas: FloatArray, work: ReplicaWork, slo: Slo) -> FloatArray:
    """Return the share of otherwise servable requests whose TTFT misses, for arrays that broadcast.

    One first-come-first-served queue before ``replicas`` servers. The probability of waiting is Halfin and Whitt's
    (Operations Research 29, 1981); a wait is exponential with the mean of an M/G/n queue in the Allen-Cunneen form
    (Allen, Probability, Statistics and Queueing Theory, 1990), seen by ten equally likely prompt lengths.
    """
    unservable = work.unservable_share(slo)
    servers = np.maximum(replicas, 1e-9)
    overloaded = offered >= 0.999 * replicas
    slack = np.where(overloaded, 1.0, servers - offered)
    beta = slack / np.sqrt(np.maximum(offered, 1e-9))
    bounded = np.minimum(beta, _LARGEST_BETA)
    waits = 1.0 / (1.0 + _SQRT_TWO_PI * bounded * normal_cdf(bounded) * np.exp(0.5 * bounded * bounded))
    waits = np.where(beta > _LARGEST_BETA, 0.0, waits)
    room = slo.ttft_seconds - work.prefill_sample
    room = room[room > 0.0]
    scale = slack / (work.prefill_seconds * work.variability)
    share = waits * _exponentials(scale, room) / len(work.prefill_sample)
    return np.where(overloaded, 1.0 - unservable, share)


def _exponentials(scale: FloatArray, room: FloatArray) -> FloatArray:
    """Return the sum of ``exp(-scale * room)`` over ``room``; at once where that is small enough to be faster."""
    if scale.size * len(room) <= _AT_ONCE:
        together: FloatArray = np.exp(np.multiply.outer(scale, -room)).sum(axis=-1)
        return together
    total = np.zeros_like(scale)
    for seconds in room:
        total += np.exp(scale * -seconds)
    return total


def decode_miss(offered: FloatArray, replicas: FloatArray, work: ReplicaWork) -> FloatArray:
    """Return the share of requests whose ITL misses: the chance that the batch is beyond its edge.

    Running sequences over the fleet are close to Poisson with mean ``offered * batch``, so the offered work in
    replicas has the standard deviation ``sqrt(offered / batch)``.
    """
    spread = np.sqrt(offered / work.batch) + _DECODE_IMBALANCE * np.maximum(replicas, 1e-9)
    return normal_cdf((offered - _DECODE_EDGE * replicas) / spread)


def miss_share(role: Role, rates: FloatArray, replicas: FloatArray, work: ReplicaWork, slo: Slo) -> FloatArray:
    """Return the share of requests that miss in ``role`` at arrival ``rates`` (requests per second)."""
    if role is Role.PREFILL:
        return prefill_miss(rates * work.prefill_seconds, replicas, work, slo)
    if role is Role.DECODE:
        return decode_miss(rates * work.decode_seconds, replicas, work)
    late_first = prefill_miss(rates * work.prefill_seconds, replicas, work, slo)
    slow_tokens = decode_miss(rates * work.serve_seconds, replicas, work)
    return np.minimum(1.0, late_first + slow_tokens)
