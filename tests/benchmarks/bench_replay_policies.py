"""Every baseline of the replay beside Forebay on the public traces: cost over the oracle, and attainment."""

import argparse
import time
from dataclasses import replace
from collections.abc import Sequence

from forebay.flow.fleet import Fleet, Pool, PoolKey, Role, Variant
from forebay.replay.baselines import Facts, baselines
from forebay.replay.baselines.common.traffic import fleet_for_busiest_minute, starting_fleet
from forebay.replay.run import run
from forebay.replay.scenario import Scenario
from forebay.replay.score import score
from forebay.simulation import StartUp
from tests.benchmarks.policy_traces import CASES, Case

KEY = PoolKey("bench", "chat")


def scenario(name: str, case: Case, start_up_seconds: float) -> Scenario:
    """Return a case as a replay scenario: one prefill and one decode variant at the same price."""
    variants = tuple(
        Variant(
            name=role.value,
            role=role,
            max_replicas=1000,
            usd_per_replica_hour=1.0,
            performance=case.performance,
            start_up_seconds=start_up_seconds,
        )
        for role in (Role.PREFILL, Role.DECODE)
    )
    pool = Pool(key=KEY, slo=case.slo, variants=variants)
    facts = Facts(
        pool=pool,
        performance={v.name: case.performance for v in variants},
        start_up_seconds={},
        usd_per_replica_hour={v.name: 1.0 for v in variants},
    )
    initial = starting_fleet(facts, case.trace)
    most = fleet_for_busiest_minute(facts, case.trace, 1 / 4)
    pool = replace(pool, variants=tuple(replace(v, max_replicas=most[v.name]) for v in variants))
    return Scenario(
        name=name,
        fleet=Fleet(pools={KEY: pool}, node_pools={}),
        traces={KEY: case.trace},
        performance={KEY: dict.fromkeys(initial, case.performance)},
        start_up={KEY: dict.fromkeys(initial, StartUp.fixed(start_up_seconds))},
        initial={KEY: initial},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run baselines at their defaults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["conv23"])
    parser.add_argument("--start-up", type=float, default=60.0)
    parser.add_argument("--policies", nargs="*", default=None)
    options = parser.parse_args(arguments)
    for case in options.cases:
        made = scenario(case, CASES[case](0), options.start_up)
        for name, baseline in baselines().items():
            if options.policies and name not in options.policies:
                continue
            begun = time.perf_counter()
            got = score(made, run(made, baseline.policy(made), name=name))
            print(f"{case} {options.start_up} {name:20s} {got.cost_usd:.2f} {100 * got.slo_attainment:.2f} acts {got.scale_actions_per_hour:.0f} wall {time.perf_counter() - begun:.1f}", flush=True)


if __name__ == "__main__":
    main()
