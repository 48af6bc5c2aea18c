"""A pool's own past as a trace: minute counts and mean lengths from Prometheus, single requests drawn from them.

Counts come from the same code that warms up the operator's forecasters. Mean lengths are token counters' growth
over the arrivals of the same ten minutes, from the standard metrics of the pool's engines. Requests inside minutes
are drawn by the seeded method of `forebay.traces.realise`; minutes without a count are joined by straight lines.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from forebay.api.translate import PoolBinding
from forebay.flow.fleet import PoolKey, Role
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.replay.build import BuildError
from forebay.telemetry.answer import Matrix, parse_matrix
from forebay.telemetry.client import PrometheusClient, PromQlClient
from forebay.telemetry.dialect import Signal
from forebay.telemetry.errors import QueryError
from forebay.telemetry.facts import Facts, look_up
from forebay.telemetry.groups import Expressions
from forebay.telemetry.history import read_history
from forebay.telemetry.plan import Place, Plan, make_plan
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget, History, PoolTarget, WorkloadTarget
from forebay.traces import LoadOptions, TraceError
from forebay.traces.realise import BinnedTraffic, realise

_MINUTE = 60
_LENGTH_BIN_SECONDS = 600
_CHUNK_BINS = 1000
_FEWEST_MINUTES = 10
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """What Prometheus knows of a pool's past."""

    history: History
    input_tokens: FloatArray
    """Prompt tokens of each ten minutes; NaN where unknown."""
    output_tokens: FloatArray


def recorded_trace(
    binding: PoolBinding, settings: PrometheusSettings, *, since_seconds: float, now_seconds: float, seed: int
) -> RequestTrace:
    """Return the pool's traffic of the last ``since_seconds``.

    Raises:
        BuildError: Prometheus does not answer, or has no history of this pool.
    """
    target = target_of(binding)

    async def ask() -> Recorded:
        client = PrometheusClient(settings)
        try:
            return await read_recorded(client, settings, target, now_seconds - since_seconds, now_seconds)
        finally:
            await client.close()

    try:
        found = asyncio.run(ask())
    except QueryError as error:
        raise BuildError(f"{settings.url}: {error}") from error
    return drawn(target.key, found, seed=seed)


def target_of(binding: PoolBinding) -> PoolTarget:
    """Return where to look for a pool's metrics."""
    selector, gateway = binding.telemetry.selector, binding.telemetry.gateway
    return PoolTarget(
        key=binding.pool.key,
        slo=binding.pool.slo,
        engine=binding.telemetry.engine.value,
        workloads=tuple(
            WorkloadTarget(
                variant=variant.name,
                role=variant.role,
                name=binding.targets[variant.name].name,
                kind=binding.targets[variant.name].kind,
            )
            for variant in binding.pool.variants
        ),
        labels=selector.match_labels if selector is not None else {},
        gateway=(
            GatewayTarget(dialect=gateway.dialect.value, labels=binding.gateway_labels)
            if gateway is not None and binding.gateway_labels is not None
            else None
        ),
    )


async def read_recorded(
    client: PromQlClient,
    settings: PrometheusSettings,
    target: PoolTarget,
    since_seconds: float,
    at_seconds: float,
) -> Recorded:
    """Read counts and tokens.

    Raises:
        QueryError: the server does not answer.
    """
    history = await read_history(client, settings, target, since_seconds, at_seconds)
    start = int(history.start_seconds)
    bins = len(history.requests_per_minute) * _MINUTE // _LENGTH_BIN_SECONDS
    plan = make_plan([target], settings)
    entering = [w.variant for w in target.workloads if w.role is not Role.DECODE]
    leaving = [w.variant for w in target.workloads if w.role is not Role.PREFILL]
    return Recorded(
        history=history,
        input_tokens=await _tokens(
            client, settings, plan, target.key, entering, Signal.PROMPT_TOKENS, start, bins
        ),
        output_tokens=await _tokens(
            client, settings, plan, target.key, leaving, Signal.OUTPUT_TOKENS, start, bins
        ),
    )


async def _tokens(
    client: PromQlClient,
    settings: PrometheusSettings,
    plan: Plan,
    key: PoolKey,
    variants: Iterable[str],
    signal: Signal,
    start: int,
    bins: int,
) -> FloatArray:
    """Return the growth of a token counter per ten minutes, over all workloads of ``variants``."""
    places = [place for name, place in plan.pools[key].workloads.items() if name in set(variants)]
    total = np.full(bins, np.nan)
    for low in range(0, bins, _CHUNK_BINS):
        high = min(bins, low + _CHUNK_BINS)
        for place in places:
            part = await _grown(client, settings, plan, place, signal, start, low, high)
            known = ~np.isnan(part)
            total[low:high][known] = np.nan_to_num(total[low:high][known]) + part[known]
    return total


async def _grown(
    client: PromQlClient,
    settings: PrometheusSettings,
    plan: Plan,
    place: Place,
    signal: Signal,
    start: int,
    low: int,
    high: int,
) -> FloatArray:
    group = plan.groups[place.group]
    first, last = start + (low + 1) * _LENGTH_BIN_SECONDS, start + high * _LENGTH_BIN_SECONDS
    facts = await look_up(client, group, settings, last, Facts())
    ask = Expressions(group, settings, facts.known, facts.window_seconds)
    query = ask.growth(signal, _LENGTH_BIN_SECONDS)
    if query is None:
        return np.full(high - low, np.nan)

    def parsed(result: object) -> Matrix:
        return parse_matrix(
            result, ask.labels, start_seconds=first, step_seconds=_LENGTH_BIN_SECONDS, steps=high - low
        )

    found = await client.range(query, first, last, _LENGTH_BIN_SECONDS, kind="replay", read=parsed)
    return np.asarray(found.values.get(place.key, [np.nan] * (high - low)), dtype=np.float64)


def drawn(key: PoolKey, recorded: Recorded, *, seed: int) -> RequestTrace:
    """Return a trace with the recorded counts and lengths.

    Raises:
        BuildError: too little is known.
    """
    minutes = recorded.history.requests_per_minute
    if recorded.history.known_minutes < _FEWEST_MINUTES or not np.nansum(minutes) > 0:
        why = recorded.history.freshness.detail or "the pool had no requests then"
        raise BuildError(
            f"{key}: Prometheus has no usable history of it ({why.rstrip('.')}); check --prometheus, the pool's "
            "telemetry.selector and the server's retention, or give --trace"
        )
    start = recorded.history.start_seconds
    traffic = BinnedTraffic(
        name=key.name,
        bin_seconds=float(_MINUTE),
        requests_per_second=_joined(minutes) / _MINUTE,
        mean_input_tokens=_mean_per_minute(recorded.input_tokens, minutes),
        mean_output_tokens=_mean_per_minute(recorded.output_tokens, minutes),
        start_of_day_seconds=start % _DAY_SECONDS,
    )
    try:
        return realise(traffic, LoadOptions(seed=seed), lambda text: TraceError(f"{key} {text}"))
    except TraceError as error:
        raise BuildError(str(error)) from error


def _joined(values: FloatArray) -> FloatArray:
    known = ~np.isnan(values)
    places = np.arange(len(values))
    return np.interp(places, places[known], values[known])


def _mean_per_minute(tokens: FloatArray, minutes: FloatArray) -> FloatArray | None:
    """Return mean tokens per request for every minute; ``None`` if no ten minutes are known."""
    per_bin = _LENGTH_BIN_SECONDS // _MINUTE
    whole = minutes[: len(tokens) * per_bin].reshape(-1, per_bin)
    requests = whole.sum(axis=1)
    good = ~np.isnan(tokens) & ~np.isnan(requests) & (requests > 0) & (tokens > 0)
    if not good.any():
        return None
    middles = (np.arange(len(tokens)) + 0.5) * per_bin
    means = tokens[good] / requests[good]
    joined: FloatArray = np.interp(np.arange(len(minutes)) + 0.5, middles[good], np.maximum(means, 1.0))
    return joined


def binding_named(bindings: Sequence[PoolBinding], key: PoolKey) -> PoolBinding:
    """Return the pool called ``key``.

    Raises:
        BuildError: the files do not have it.
    """
    for binding in bindings:
        if binding.pool.key == key:
            return binding
    known = ", ".join(str(binding.pool.key) for binding in bindings)
    raise BuildError(f"the files have no InferencePool {key}; they have {known}")
