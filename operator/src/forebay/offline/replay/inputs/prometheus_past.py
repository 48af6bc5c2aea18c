"""A pool's own past as a trace: minute counts and mean lengths from Prometheus, single requests drawn from them.

Counts come from the same code that warms up the operator's forecasters. Mean lengths are token counters' growth
over the arrivals of the same ten minutes, from the standard metrics of the pool's engines; so is the share of the
prompts that the prefix caches answered, which is then the same for all requests of a time. Requests inside minutes
are drawn by the seeded method of `forebay.offline.traces.realise`; minutes without a count are joined by straight
lines, and nothing is made up before the first minute that has one or after the last.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from forebay.api.translate import PoolBinding
from forebay.flow.fleet import PoolKey, VariantKey
from forebay.flow.roles import ROLES
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.replay.inputs.build_error import BuildError
from forebay.offline.traces import LoadOptions, TraceError
from forebay.offline.traces.realise import BinnedTraffic, realise
from forebay.telemetry.history import read_history
from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.facts import SeriesFacts, look_up
from forebay.telemetry.query.grouping import Place, Plan, make_plan
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget, History, PoolTarget, WorkloadTarget
from forebay.telemetry.transport.answer import Matrix, parse_matrix
from forebay.telemetry.transport.client import PrometheusClient, PromQlClient
from forebay.telemetry.transport.errors import QueryError

_MINUTE = 60
_LENGTH_BIN_SECONDS = 600
_CHUNK_BINS = 1000
_FEWEST_MINUTES = 10
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """Requests drawn from what was recorded."""

    trace: RequestTrace
    note: str = ""
    """What is missing of the time that was asked for; empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """What Prometheus knows of a pool's past."""

    history: History
    input_tokens: FloatArray
    """Prompt tokens of each ten minutes; NaN where unknown."""
    output_tokens: FloatArray
    cached_share: FloatArray
    """Share of the prompt tokens that prefix caches answered; NaN where unknown."""


def recorded_trace(
    binding: PoolBinding, settings: PrometheusSettings, *, since_seconds: float, now_seconds: float, seed: int
) -> Drawn:
    """Return the pool's traffic of the last ``since_seconds``, or of what the server still has of it.

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
        engine=binding.telemetry.engine,
        metric_prefix=binding.telemetry.metric_prefix or "",
        workloads=tuple(
            WorkloadTarget(
                variant=variant.key,
                role=variant.role,
                name=binding.targets[variant.key].name,
                kind=binding.targets[variant.key].kind,
            )
            for variant in binding.pool.variants
        ),
        labels=selector.match_labels if selector is not None else {},
        gateway=(
            GatewayTarget(
                dialect=gateway.dialect, labels=binding.gateway_labels, metric_prefix=gateway.metric_prefix or ""
            )
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
    history = (await read_history(client, settings, [target], since_seconds, at_seconds))[target.key]
    start = int(history.start_seconds)
    bins = len(history.requests_per_minute) * _MINUTE // _LENGTH_BIN_SECONDS
    plan = make_plan([target], settings)
    entering = [w.variant for w in target.workloads if ROLES[w.role].fed_by is None]
    leaving = [w.variant for w in target.workloads if ROLES[w.role].feeds is None]

    async def grown(signal: Signal, variants: Iterable[VariantKey]) -> FloatArray:
        return await _tokens(client, settings, plan, target.key, variants, signal, start, bins)

    prompts = await grown(Signal.PROMPT_TOKENS, entering)
    asked = await grown(Signal.CACHE_QUERIED_TOKENS, entering)
    hits = await grown(Signal.CACHED_TOKENS, entering)
    asked = np.where(np.isnan(asked), prompts, asked)
    return Recorded(
        history=history,
        input_tokens=prompts,
        output_tokens=await grown(Signal.OUTPUT_TOKENS, leaving),
        cached_share=np.where(asked > 0.0, np.clip(hits / np.maximum(asked, 1.0), 0.0, 1.0), np.nan),
    )


async def _tokens(
    client: PromQlClient,
    settings: PrometheusSettings,
    plan: Plan,
    key: PoolKey,
    variants: Iterable[VariantKey],
    signal: Signal,
    start: int,
    bins: int,
) -> FloatArray:
    """Return the growth of a token counter per ten minutes, over all workloads of ``variants``."""
    places = [place for variant, place in plan.pools[key].workloads.items() if variant in set(variants)]
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
    facts = await look_up(client, group, settings, last, SeriesFacts())
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


def drawn(key: PoolKey, recorded: Recorded, *, seed: int) -> Drawn:
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
    known = np.flatnonzero(~np.isnan(minutes))
    span = slice(int(known[0]), int(known[-1]) + 1)
    means = [_mean_per_minute(tokens, minutes) for tokens in (recorded.input_tokens, recorded.output_tokens)]
    inputs, outputs = (None if mean is None else mean[span] for mean in means)
    traffic = BinnedTraffic(
        name=key.name,
        bin_seconds=float(_MINUTE),
        requests_per_second=_joined(minutes[span]) / _MINUTE,
        mean_input_tokens=inputs,
        mean_output_tokens=outputs,
        start_of_day_seconds=(recorded.history.start_seconds + _MINUTE * span.start) % _DAY_SECONDS,
    )
    try:
        trace = realise(traffic, LoadOptions(seed=seed), lambda text: TraceError(f"{key} {text}"))
    except TraceError as error:
        raise BuildError(str(error)) from error
    trace = _with_cache(trace, recorded.cached_share, begin_seconds=float(_MINUTE * span.start))
    return Drawn(trace=trace, note=_note(key, minutes, span, lengths=inputs is not None and outputs is not None))


def _with_cache(trace: RequestTrace, shares: FloatArray, *, begin_seconds: float) -> RequestTrace:
    """Return ``trace`` with the cached part of every prompt, at the share of its ten minutes."""
    known = ~np.isnan(shares)
    if not (shares[known] > 0.0).any():
        return trace
    middles = (np.arange(len(shares)) + 0.5) * _LENGTH_BIN_SECONDS - begin_seconds
    share = np.interp(trace.arrival_seconds, middles[known], shares[known])
    cached = np.minimum(np.rint(share * trace.input_tokens), trace.input_tokens - 1)
    return replace(trace, cached_tokens=np.maximum(cached, 0.0).astype(np.int64))


def _note(key: PoolKey, minutes: FloatArray, span: slice, *, lengths: bool) -> str:
    """Return what was not recorded, in words."""
    said = []
    inside = minutes[span]
    if len(inside) < len(minutes) - 1:
        said.append(f"the server has {_hours(len(inside))} of the {_hours(len(minutes))} asked for")
    gaps = int(np.isnan(inside).sum())
    if gaps:
        said.append(f"{gaps:,} of {len(inside):,} minutes have no count and are joined by straight lines")
    if not lengths:
        said.append("it has no token counts, so that the lengths are those of a usual conversation")
    return f"{key}: {'; '.join(said)}." if said else ""


def _hours(minutes: int) -> str:
    return f"{minutes / 1440:.1f} days" if minutes >= 2880 else f"{minutes / 60:.1f} h"


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
