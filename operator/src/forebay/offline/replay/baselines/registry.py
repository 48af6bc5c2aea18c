"""What a baseline declares, and how baselines are found.

A baseline is a module of this package with a tuple ``BASELINES``. To add one, write that file; nothing else
names it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from forebay.flow.fleet import Fleet, Pool, PoolKey, VariantKey
from forebay.flow.performance import Performance
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.replay.loop.policy import PoolByPool, PoolPolicy
from forebay.offline.replay.loop.scenario import Scenario
from forebay.pipeline.prices import usd_per_replica_hour


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PoolFacts:
    """What someone who runs a baseline knows of a pool before its traffic comes."""

    pool: Pool
    performance: Mapping[VariantKey, Performance]
    """What a replica of each variant truly sustains: every baseline is given a perfect profile."""
    start_up_seconds: Mapping[VariantKey, float]
    usd_per_replica_hour: Mapping[VariantKey, float]
    history_requests_per_minute: FloatArray | None = None
    """Minute counts before the start, newest last."""
    start_of_day_seconds: float = 0.0
    fill_order: tuple[VariantKey, ...] = ()
    """Names of the variants in the order in which a role fills them, chosen once as its users would choose it;
    empty: cheapest per unit of work at the current lengths."""
    future: RequestTrace | None = None
    """The traffic itself; only for baselines that declare ``hindsight``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """The one setting that a baseline's users turn to trade money against latency."""

    name: str
    default: float
    """As documented by the product, or what its users start from."""
    sweep: tuple[float, ...]
    """Values to try, from lean to generous."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One way to scale a pool that people use today."""

    name: str
    title: str
    source: str
    """Public document that the algorithm and the defaults are taken from."""
    knob: Knob
    make: Callable[[PoolFacts, float], PoolPolicy]
    """Build a fresh instance for one pool at a setting of the knob."""
    hindsight: bool = False
    """Knows the traffic beforehand: no policy that could be run, and to be shown as such."""

    def policy(self, scenario: Scenario, knob: float | None = None) -> PoolByPool:
        """Return a fresh fleet policy for one run over ``scenario``, at the default without ``knob``."""
        value = self.knob.default if knob is None else knob
        return PoolByPool(
            _fleet_with_traffic(scenario), lambda pool: self.make(self._facts(scenario, pool.key), value)
        )

    def _facts(self, scenario: Scenario, key: PoolKey) -> PoolFacts:
        facts = facts_of(scenario, key)
        return facts if self.hindsight else replace(facts, future=None)


def facts_of(scenario: Scenario, key: PoolKey) -> PoolFacts:
    """Return everything that is known of one pool of ``scenario``, its future included."""
    pool, trace = scenario.fleet.pools[key], scenario.traces[key]
    return PoolFacts(
        pool=pool,
        performance=scenario.performance[key],
        start_up_seconds={name: s.expected_seconds for name, s in scenario.start_up[key].items()},
        usd_per_replica_hour={v.key: usd_per_replica_hour(scenario.fleet, v) for v in pool.variants},
        history_requests_per_minute=trace.history_requests_per_minute,
        start_of_day_seconds=trace.start_of_day_seconds,
        fill_order=scenario.fill_order.get(key, ()),
        future=trace,
    )


def _fleet_with_traffic(scenario: Scenario) -> Fleet:
    """Return the fleet of the pools that are replayed."""
    fleet = scenario.fleet
    return Fleet(pools={key: fleet.pools[key] for key in scenario.traces}, node_pools=fleet.node_pools)


@cache
def baselines() -> Mapping[str, Baseline]:
    """Return every baseline by name, in alphabetical order of their files.

    Raises:
        ValueError: two baselines have the same name.
    """
    found: dict[str, Baseline] = {}
    package = importlib.import_module(__package__ or "")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        declared = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "BASELINES", ())
        for baseline in declared:
            if baseline.name in found:
                raise ValueError(f"two baselines are named {baseline.name!r}")
            found[baseline.name] = baseline
    return found


def baseline_named(name: str) -> Baseline:
    """Return one baseline.

    Raises:
        ValueError: there is none of that name; the message lists those that there are.
    """
    known = baselines()
    if name not in known:
        raise ValueError(f"no policy is named {name!r}; there are {', '.join(known)}")
    return known[name]
