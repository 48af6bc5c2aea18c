"""Which variant should get which requests: weights per role, and per prompt length where that matters."""

from collections.abc import Mapping
from dataclasses import replace

from forebay.flow.fleet import VariantKey
from forebay.flow.plan import Route
from forebay.flow.trace import FloatArray
from forebay.planning.highs import SolverOptions, solve_program
from forebay.planning.normal import NO_LIMITS, PoolModel, RoleProgram
from forebay.planning.program import FleetProgram, build


def routing(pool: PoolModel, counts: Mapping[VariantKey, int]) -> dict[VariantKey, float]:
    """Return the weight of each variant for new requests of its role, by capacity; sums to 1 per role."""
    weights: dict[VariantKey, float] = {}
    for role in pool.roles:
        capacity = {c.key: c.option.speed * counts[c.key] for c in role.choices}
        total = sum(capacity.values())
        weights |= {name: share / total if total > 0 else 0.0 for name, share in capacity.items()}
    return weights


def routes_by_length(pool: PoolModel, counts: Mapping[VariantKey, int]) -> tuple[Route, ...]:
    """Return the weights per prompt length with ``counts`` replicas; empty where length makes no difference.

    The program with the replicas fixed says how much of each bucket every variant takes when least is missed,
    whatever was wanted. The weights are shares of the bucket's requests. A bucket that nobody takes falls back to
    those who can serve it.
    """
    if not any(role.buckets for role in pool.roles):
        return ()
    pool = replace(pool, roles=tuple(replace(role, worth=role.order) for role in pool.roles))
    fleet = build([pool], NO_LIMITS, weights={}, wishes={}, one_direction=False)
    fleet.fix({pool.key: counts})
    answer = solve_program(fleet.program, SolverOptions(relaxed=True))
    return tuple(
        Route(role=role.role, upper_tokens=bucket.upper_tokens, weights=weights)
        for role in pool.roles
        for index, bucket in enumerate(role.buckets)
        if (weights := _weights(fleet, pool, role, index, counts, answer.values))
    )


def _weights(
    fleet: FleetProgram,
    pool: PoolModel,
    role: RoleProgram,
    index: int,
    counts: Mapping[VariantKey, int],
    values: FloatArray | None,
) -> dict[VariantKey, float]:
    able = {name: speed * counts[name] for name, speed in role.buckets[index].speed if speed > 0 and counts[name]}
    column = {name: fleet.taken[pool.key, role.role, index, name] for name in able}
    taken = {name: 0.0 if values is None else max(0.0, float(values[column[name]])) for name in able}
    chosen = taken if sum(taken.values()) > 0 else able
    total = sum(chosen.values())
    return {name: share / total for name, share in chosen.items() if share > 0}
