"""Share of requests that miss an objective when ``n`` replicas are offered ``a`` busy replicas of work.

This works for one pool, or for many at once. Then work and objectives are stacks, and the pool is the first axis
of rates and replicas.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from forebay.flow.fleet import Role, Slo
from forebay.sizing.stack import SloStack, WorkStack
from forebay.sizing.work import FloatArray, ReplicaWork

AnyWork = ReplicaWork | WorkStack
AnySlo = Slo | SloStack
Deviation = float | FloatArray
"""Relative standard deviation of the rate within a minute, beyond Poisson noise."""

RATE_LASTS_SECONDS = 300.0
"""Mean time for which an arrival rate lasts: some minutes, in which a forecast errs in one direction."""
BURST_SECONDS = 10.0
"""How long a burst within a minute lasts: the slots in which burstiness is measured."""
_SERIES_BELOW = 0.02
"""Closer to zero than this, 1/mu - 1/eta loses precision; its series is used."""
_ANSWERS = tuple(
    math.exp(0.8 * z - 0.32)
    for z in (-1.6449, -1.0364, -0.6745, -0.3853, -0.1257, 0.1257, 0.3853, 0.6745, 1.0364, 1.6449)
)
"""Deciles of a lognormal of mean 1 and log deviation .8."""
_ANSWER_VARIATION = math.exp(0.64) - 1.0
"""Squared coefficient of variation of the same."""
_SQRT_TWO_PI = math.sqrt(2.0 * math.pi)
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


def waiting_probability(offered: FloatArray, servers: FloatArray) -> FloatArray:
    """Return Erlang's C: the chance that all ``servers`` are busy when a request arrives; 1 beyond their capacity.

    Erlang's B is the Poisson probability of ``servers`` over that of at most so many, for which Temme's uniform
    expansion of the incomplete gamma function (SIAM J. Math. Anal. 10, 1979) with one correction stands. The error
    is below .0003 at one server and below .00001 from five on, and no sum over servers is needed.
    """
    shape = servers + 1.0
    ratio = np.maximum(offered, 1e-12) / shape
    mu = ratio - 1.0
    half_square = np.maximum(mu - np.log(ratio), 0.0)
    eta = np.copysign(np.sqrt(2.0 * half_square), mu)
    series = -1.0 / 3.0 + eta * (1.0 / 12.0 - eta * (2.0 / 135.0))
    near = np.abs(eta) < _SERIES_BELOW
    correction = np.where(near, series, 1.0 / np.where(near, 1.0, mu) - 1.0 / np.where(near, 1.0, eta))
    density = np.exp(-shape * half_square) / np.sqrt(2.0 * math.pi * shape)
    at_most = normal_cdf(-eta * np.sqrt(shape)) + density * correction
    exactly = density * np.exp(-1.0 / (12.0 * shape)) / ratio
    load = np.minimum(offered / servers, 1.0)
    all_busy: FloatArray = 1.0 / (load + (1.0 - load) * at_most / np.maximum(exactly, 1e-300))
    return all_busy


def prefill_miss(
    rates: FloatArray, replicas: FloatArray, work: AnyWork, slo: AnySlo, burstiness: Deviation = 0.0
) -> FloatArray:
    """Return the share of requests whose TTFT misses, for arrays that broadcast.

    One first-come-first-served queue before ``replicas`` servers. A prompt whose prefill alone takes longer than
    the objective misses it with any number of replicas. It counts as missed only if it waits longer than the
    objective, so that capacity is still bought for its work.
    """
    room = slo.ttft_seconds - _beside(work.prefill_sample, max(np.ndim(rates), np.ndim(replicas)))
    room = np.where(room > 0.0, room, slo.ttft_seconds)
    servers = np.maximum(replicas, 1e-9)
    offered = rates * work.prefill_seconds
    dispersion = burstiness**2 * BURST_SECONDS * rates
    waits = waiting_probability(offered, servers)
    variance = work.prefill_seconds / servers * (2.0 * work.variability + dispersion)
    longer = longer_share(offered / servers, variance, room)
    share: FloatArray = waits * longer
    return share


def longer_share(load: FloatArray, variance: FloatArray, rooms: FloatArray) -> FloatArray:
    """Return the share of waits that are longer than ``rooms``, which have an axis of their own in front.

    A wait follows a reflected Brownian motion (the heavy-traffic limit of the G/G/n queue; Kingman 1962), seen
    after an exponential time of mean ``RATE_LASTS_SECONDS`` from an empty queue. Then it is exponential, also
    above capacity: a few minutes just above capacity make a queue of those minutes, not an endless one.

    ``load`` is the work that arrives per server and second. ``variance`` is that of the work at full load: the
    service time per server, times the squared coefficient of variation of service plus arrivals' variance over
    their mean.
    """
    drift = load - 1.0
    root = np.sqrt(drift * drift + 2.0 * variance / RATE_LASTS_SECONDS)
    # Both are the same number; each form is used where it loses no precision.
    above = 2.0 / RATE_LASTS_SECONDS / np.where(drift > 0.0, root + drift, 1.0)
    decay = np.where(drift > 0.0, above, (root - drift) / variance)
    longer: FloatArray = np.exp(-decay * rooms).sum(axis=0) / len(rooms)
    return longer


def _beside(sample: FloatArray, dimensions: int) -> FloatArray:
    """Return a sample with its own axis first, to broadcast with arrays of so many ``dimensions``."""
    return sample.reshape(sample.shape + (1,) * (dimensions + 1 - sample.ndim))


def decode_miss(
    rates: FloatArray, replicas: FloatArray, work: AnyWork, slo: AnySlo, burstiness: Deviation = 0.0
) -> FloatArray:
    """Return the share of requests whose mean ITL misses.

    An iteration takes ``base + slope * batch``, so that a fleet with balanced batches is a birth-death process
    whose number of sequences is negative binomial: its mean grows faster than the rate, and it varies more than a
    Poisson number by ``iteration / base``. It is taken as gamma distributed (Wilson and Hilferty 1931).

    Where latency limits the batch, a request misses when the batch is beyond the edge of its replica, whose
    contexts are longer or shorter than the fleet's. Where slots or KV cache limit it, iterations are always fast
    enough, and only a wait for a slot can spoil the mean ITL: a longer answer may have waited longer.
    """
    servers = np.maximum(replicas, 1e-9)
    growth = rates * work.output_tokens * work.step_seconds_per_sequence / servers
    left = np.maximum(1.0 - growth, 1e-6)
    idle_seconds = work.output_tokens * work.step_base_seconds
    mean = np.maximum(rates * idle_seconds / left, 1e-9)
    dispersion = burstiness**2 * BURST_SECONDS * rates
    # How long the number of sequences takes to follow the rate: shorter bursts show only in part.
    follows_seconds = idle_seconds / left**2
    variance = mean / left * (1.0 + dispersion * follows_seconds / (follows_seconds + BURST_SECONDS))
    edge = servers * work.batch
    z, slope = _gamma_z(edge, mean, variance)
    if work.latency_limits:
        return normal_cdf(-z / np.sqrt(1.0 + (slope * work.imbalance * edge) ** 2))
    load = rates * work.decode_seconds / servers
    density = np.exp(-0.5 * z * z) * slope / _SQRT_TWO_PI
    waits = 1.0 / (1.0 + np.maximum(1.0 - load, 0.0) * normal_cdf(z) / np.maximum(density, 1e-300))
    slack = slo.itl_seconds - work.step_base_seconds - work.step_seconds_per_sequence * work.batch
    answers = np.array(_ANSWERS).reshape((-1,) + (1,) * max(np.ndim(rates), np.ndim(replicas)))
    rooms = answers * work.output_tokens * np.maximum(slack, 0.0)
    spread = work.decode_seconds / servers * (1.0 + _ANSWER_VARIATION + dispersion)
    share: FloatArray = waits * longer_share(load, spread, rooms)
    return share


def _gamma_z(value: FloatArray, mean: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the normal deviate of ``value`` in a gamma distribution, and how fast it grows with the value."""
    shape = mean * mean / variance
    root = np.cbrt(value / mean)
    return (root - 1.0 + 1.0 / (9.0 * shape)) * 3.0 * np.sqrt(shape), np.sqrt(shape) / (mean * root * root)


def mixed_decode_miss(
    rates: FloatArray, replicas: FloatArray, work: AnyWork, slo: AnySlo, burstiness: Deviation = 0.0
) -> FloatArray:
    """Return the share of requests whose mean ITL misses on replicas that stop decoding for every prefill.

    At ``x`` requests per second and replica, Little's law gives the mean ITL ``base / left`` with ``left = 1 - x *
    (prefill + slope * output)``. A request of ``k`` tokens meets a Poisson number of prefills, so its own mean
    ITL has the variance ``x * ITL * E[prefill^2] / k``, which is largest for short answers. Added to it are the
    variance of the batch, and that of the fleet's arrivals while a request runs, which the loop of ITL and batch
    amplifies by ``1 / left``. The length of answers is taken as lognormal with the deviation of public chat
    traces.
    """
    per_replica = rates / np.maximum(replicas, 1e-9)
    left = 1.0 - per_replica * (work.prefill_seconds + work.step_seconds_per_sequence * work.output_tokens)
    itl = work.step_base_seconds / np.maximum(left, 1e-9)
    sequences = per_replica * work.output_tokens * itl
    full = (left <= 0.0) | (sequences >= work.largest_batch)
    stretch = 1.0 / np.maximum(1.0 - per_replica * work.prefill_seconds, 1e-9)
    batch_variance = sequences * (work.step_seconds_per_sequence * stretch) ** 2
    stalls = per_replica * itl * 2.0 * work.variability * work.prefill_seconds**2
    # How the ITL follows the rate. Beyond the objective it is the gain there: what is too slow stays too slow.
    judged = np.minimum(itl, slo.itl_seconds)
    gain = judged * np.maximum(judged / np.maximum(work.step_base_seconds, 1e-9) - 1.0, 0.0)
    arrivals = np.maximum(rates * work.output_tokens * itl, 1e-9)
    batch_variance = batch_variance + gain**2 * (2.0 * work.variability / arrivals + burstiness**2)
    share = np.zeros_like(itl)
    for answer in _ANSWERS:
        deviation = np.sqrt(batch_variance + stalls / np.maximum(answer * work.output_tokens, 1.0)) + 1e-12
        share += normal_cdf((itl - slo.itl_seconds) / deviation)
    return np.where(full, 1.0, share / len(_ANSWERS))


def serve_miss(
    rates: FloatArray, replicas: FloatArray, work: AnyWork, slo: AnySlo, burstiness: Deviation = 0.0
) -> FloatArray:
    """Return the share of requests that miss TTFT or ITL on replicas that do both phases."""
    late_first = prefill_miss(rates, replicas, work, slo, burstiness)
    return np.minimum(1.0, late_first + mixed_decode_miss(rates, replicas, work, slo, burstiness))


_MISS_SHARE: Mapping[Role, Callable[[FloatArray, FloatArray, AnyWork, AnySlo, Deviation], FloatArray]] = {
    Role.PREFILL: prefill_miss,
    Role.DECODE: decode_miss,
    Role.SERVE: serve_miss,
}


def miss_share(
    role: Role,
    rates: FloatArray,
    replicas: FloatArray,
    work: AnyWork,
    slo: AnySlo,
    burstiness: Deviation = 0.0,
) -> FloatArray:
    """Return the share of requests that miss in ``role`` at arrival ``rates`` (requests per second)."""
    return _MISS_SHARE[role](rates, replicas, work, slo, burstiness)
