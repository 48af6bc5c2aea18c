"""Share of requests that miss an objective when ``n`` replicas are offered ``a`` busy replicas of work.

For one pool, or for many at once: work and objectives are stacks then, and pools come first in rates and replicas.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from forebay.flow.fleet import Role, Slo
from forebay.sizing.stack import SloStack, WorkStack
from forebay.sizing.work import FloatArray, ReplicaWork

AnyWork = ReplicaWork | WorkStack
AnySlo = Slo | SloStack

_SQRT_TWO_PI = 2.5066282746310002
_LARGEST_BETA = 12.0
"""Halfin-Whitt slack beyond which nobody waits."""
_ANSWERS = tuple(
    math.exp(0.8 * z - 0.32)
    for z in (-1.6449, -1.0364, -0.6745, -0.3853, -0.1257, 0.1257, 0.3853, 0.6745, 1.0364, 1.6449)
)
"""Deciles of a lognormal of mean 1 and log deviation .8."""
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
        polynomial *= t
        polynomial += coefficient
    half_erfc = 0.5 * t * np.exp(-z * z + polynomial)
    return np.where(x >= 0.0, 1.0 - half_erfc, half_erfc)


def prefill_miss(offered: FloatArray, replicas: FloatArray, work: AnyWork, slo: AnySlo) -> FloatArray:
    """Return the share of otherwise servable requests whose TTFT misses, for arrays that broadcast.

    One first-come-first-served queue before ``replicas`` servers. The probability of waiting is Halfin and Whitt's
    (Operations Research 29, 1981); a wait is exponential with the mean of an M/G/n queue in the Allen-Cunneen form
    (Allen, Probability, Statistics and Queueing Theory, 1990), seen by ten equally likely prompt lengths.
    """
    room = slo.ttft_seconds - _beside(work.prefill_sample, np.ndim(offered))
    prompts, servable = len(room), room > 0.0
    servers = np.maximum(replicas, 1e-9)
    overloaded = offered >= 0.999 * replicas
    slack = np.where(overloaded, 1.0, servers - offered)
    beta = slack / np.sqrt(np.maximum(offered, 1e-9))
    bounded = np.minimum(beta, _LARGEST_BETA)
    waits = 1.0 / (1.0 + _SQRT_TWO_PI * bounded * normal_cdf(bounded) * np.exp(0.5 * bounded * bounded))
    waits = np.where(beta > _LARGEST_BETA, 0.0, waits)
    scale = slack / (work.prefill_seconds * work.variability)
    late = scale * np.where(servable, -room, -np.inf)
    np.exp(late, out=late)
    share: FloatArray = np.where(overloaded, servable.sum(axis=0) / prompts, waits * late.sum(axis=0) / prompts)
    return share


def _beside(sample: FloatArray, dimensions: int) -> FloatArray:
    """Return a sample of prompts with its own axis first, to broadcast with arrays of so many ``dimensions``."""
    return sample.reshape(sample.shape + (1,) * (dimensions + 1 - sample.ndim))


def decode_miss(offered: FloatArray, replicas: FloatArray, work: AnyWork) -> FloatArray:
    """Return the share of requests whose ITL misses: the chance that the batch is beyond its edge.

    Running sequences over the fleet are close to Poisson with mean ``offered * batch``, so the offered work in
    replicas has the standard deviation ``sqrt(offered / batch)``.
    """
    spread = np.sqrt(offered / work.batch) + _DECODE_IMBALANCE * np.maximum(replicas, 1e-9)
    return normal_cdf((offered - _DECODE_EDGE * replicas) / spread)


def mixed_decode_miss(rates: FloatArray, replicas: FloatArray, work: AnyWork, slo: AnySlo) -> FloatArray:
    """Return the share of requests whose mean ITL misses on replicas that stop decoding for every prefill.

    At ``x`` requests per second and replica, Little's law gives the mean ITL ``base / left`` with ``left = 1 - x *
    (prefill + slope * output)``. A request of ``k`` tokens meets a Poisson number of prefills, so its own mean ITL
    has the variance ``x * ITL * E[prefill^2] / k``: short answers are hit hardest. To it come the variance of the
    batch, and that of the fleet's arrivals while a request runs, which the loop of ITL and batch amplifies by
    ``1 / left``. The length of answers is taken as lognormal with the deviation of public chat traces.
    """
    per_replica = rates / np.maximum(replicas, 1e-9)
    left = 1.0 - per_replica * (work.prefill_seconds + work.step_seconds_per_sequence * work.output_tokens)
    itl = work.step_base_seconds / np.maximum(left, 1e-9)
    sequences = per_replica * work.output_tokens * itl
    full = (left <= 0.0) | (sequences >= work.largest_batch)
    stretch = 1.0 / np.maximum(1.0 - per_replica * work.prefill_seconds, 1e-9)
    batch_variance = sequences * (work.step_seconds_per_sequence * stretch) ** 2
    stalls = per_replica * itl * 2.0 * work.variability * work.prefill_seconds**2
    gain = itl * (1.0 - left) / np.maximum(left, 1e-9)
    arrivals = np.maximum(rates * work.output_tokens * itl, 1e-9)
    batch_variance = batch_variance + gain**2 * 2.0 * work.variability / arrivals
    share = np.zeros_like(itl)
    for answer in _ANSWERS:
        deviation = np.sqrt(batch_variance + stalls / np.maximum(answer * work.output_tokens, 1.0)) + 1e-12
        share += normal_cdf((itl - slo.itl_seconds) / deviation)
    return np.where(full, 1.0, share / len(_ANSWERS))


def miss_share(role: Role, rates: FloatArray, replicas: FloatArray, work: AnyWork, slo: AnySlo) -> FloatArray:
    """Return the share of requests that miss in ``role`` at arrival ``rates`` (requests per second)."""
    return _MISS_SHARE[role](rates, replicas, work, slo)


def _prefill_share(rates: FloatArray, replicas: FloatArray, work: AnyWork, slo: AnySlo) -> FloatArray:
    return prefill_miss(rates * work.prefill_seconds, replicas, work, slo)


def _decode_share(rates: FloatArray, replicas: FloatArray, work: AnyWork, _: AnySlo) -> FloatArray:
    return decode_miss(rates * work.decode_seconds, replicas, work)


def _serve_share(rates: FloatArray, replicas: FloatArray, work: AnyWork, slo: AnySlo) -> FloatArray:
    late_first = prefill_miss(rates * work.prefill_seconds, replicas, work, slo)
    slow_tokens = mixed_decode_miss(rates, replicas, work, slo)
    return np.minimum(1.0, late_first + slow_tokens)


_MISS_SHARE: Mapping[Role, Callable[[FloatArray, FloatArray, AnyWork, AnySlo], FloatArray]] = {
    Role.PREFILL: _prefill_share,
    Role.DECODE: _decode_share,
    Role.SERVE: _serve_share,
}
