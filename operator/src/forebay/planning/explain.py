"""Say which limits bound a plan, and what relaxing each would be worth, in words that a person can act on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from forebay.flow.fleet import PoolKey, VariantKey
from forebay.planning.check import usage
from forebay.planning.columns import Offered, Saving
from forebay.planning.highs import SolverOptions, solve_program
from forebay.planning.normal import BUDGET, POWER, Choice, Limits, PoolModel, RoleProgram
from forebay.planning.program import Counts, build
from forebay.planning.search import role_usd

WORTH_SAYING_USD_PER_HOUR = 0.005


def limited_by(
    pools: Sequence[PoolModel], limits: Limits, counts: Counts, alone: Counts
) -> dict[PoolKey, tuple[str, ...]]:
    """Return, for each pool that would buy more if it could, the limits that keep it from it."""
    gpus, usd, watts = usage(pools, counts)
    found: dict[PoolKey, tuple[str, ...]] = {}
    for pool in pools:
        words = [word for role in pool.roles for word in _own_limits(role, counts[pool.key])]
        if any(alone[pool.key][c.key] > counts[pool.key][c.key] for c in pool.choices):
            words += _shared_limits(pool, limits, counts[pool.key], alone[pool.key], gpus, usd, watts)
        if words:
            found[pool.key] = tuple(dict.fromkeys(words))
    return found


def _own_limits(role: RoleProgram, counts: Mapping[VariantKey, int]) -> list[str]:
    """Return the bounds at which one more replica would still have saved more than it costs."""
    if role.buckets:
        return []
    here = role_usd(role, counts)
    words = []
    for choice in role.choices:
        if counts[choice.key] < choice.highest or choice.option.speed <= 0:
            continue
        if role_usd(role, {**counts, choice.key: counts[choice.key] + 1}) >= here - 1e-9:
            continue
        words.append(_bound_in_words(choice))
    all_full = all(counts[c.key] >= c.highest for c in role.choices)
    return words if all_full else []


def _bound_in_words(choice: Choice) -> str:
    if choice.option.frozen:
        return f"{choice.key} is held at {choice.option.current}"
    if choice.option.blocked and choice.highest < choice.option.max_replicas:
        return f"{choice.key} cannot grow now"
    return f"maxReplicas {choice.option.max_replicas} of {choice.key}"


def _shared_limits(
    pool: PoolModel,
    limits: Limits,
    counts: Mapping[VariantKey, int],
    alone: Mapping[VariantKey, int],
    gpus: Mapping[str, int],
    usd: float,
    watts: float,
) -> list[str]:
    words = []
    for choice in pool.choices:
        option = choice.option
        if alone[choice.key] <= counts[choice.key]:
            continue
        stock = limits.gpu_stock.get(option.node_pool or "")
        if stock is not None and gpus.get(option.node_pool or "", 0) + option.gpus_per_replica > stock:
            words.append(f"{stock} GPUs in node pool {option.node_pool}")
        if (
            limits.budget_usd_per_hour is not None
            and usd + option.usd_per_replica_hour > limits.budget_usd_per_hour
        ):
            words.append(f"budget of {limits.budget_usd_per_hour:g} $/h")
        if limits.power_limit_watts is not None and watts + option.watts_per_replica > limits.power_limit_watts:
            words.append(f"power limit of {limits.power_limit_watts:g} W")
    return words


def shadow_prices(
    pools: Sequence[PoolModel], limits: Limits, broken: tuple[str, ...], offered: Offered | None
) -> tuple[str, ...]:
    """Return what a little more of each scarce thing would save, in words.

    The plan is made again with a little more of it. Where there are length buckets, the relaxed program's dual
    prices tell instead, priorities left out.
    """
    more = {name: _a_little_more(pools, name) for name in broken}
    if offered is not None:
        saved = offered.saved({name: amount for name, (amount, _) in more.items()})
    else:
        duals = _dual_prices(pools, limits)
        saved = {name: Saving(duals.get(name, 0.0) * amount) for name, (amount, _) in more.items()}
    words = [_worth_in_words(label, saved[name]) for name, (_, label) in more.items()]
    return tuple(word for word in words if word is not None)


def _worth_in_words(label: str, saving: Saving) -> str | None:
    if saving.usd_per_hour > WORTH_SAYING_USD_PER_HOUR:
        return f"{label} would save about {saving.usd_per_hour:.2f} $/h"
    if saving.short:
        return f"{label} would be used at once: what the present load or queue of a pool needs is not there"
    return None


def _dual_prices(pools: Sequence[PoolModel], limits: Limits) -> dict[str, float]:
    pools = [replace(pool, roles=tuple(replace(role, worth=role.order) for role in pool.roles)) for pool in pools]
    fleet = build(pools, limits, weights={}, wishes={}, one_direction=False)
    return fleet.prices(solve_program(fleet.program, SolverOptions(relaxed=True)))


def _a_little_more(pools: Sequence[PoolModel], name: str) -> tuple[float, str]:
    options = [choice.option for pool in pools for choice in pool.choices]
    if name == BUDGET:
        usd = min(option.usd_per_replica_hour for option in options)
        return usd, f"{usd:g} $/h more budget"
    if name == POWER:
        watts = max(option.watts_per_replica for option in options)
        return watts, f"{watts:g} W more"
    gpus = min(option.gpus_per_replica for option in options if option.node_pool == name)
    noun = "one more GPU" if gpus == 1 else f"{gpus} more GPUs"
    return float(gpus), f"{noun} in node pool {name}"
