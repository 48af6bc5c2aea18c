"""Forebay and the baselines on the same nodes, by the bill: `python -m tests.benchmarks.bench_node_bill`.

Every policy runs over the same simulated nodes: pods that find no room launch one, empty ones go after ten
minutes, and a node is billed while it exists. Forebay runs twice, planning in whole nodes and per GPU. The others
are at their documented defaults. One-GPU and two-GPU figures are those of the replay's default pool; the four-GPU
replica and the L40S are made from them, for nodes of another size, and measured on nothing.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from forebay.flow.fleet import Fleet, NodePool, Pool, PoolKey, Role, Slo, Variant
from forebay.flow.observation import FleetObservation
from forebay.flow.performance import Performance
from forebay.offline.replay.inputs.build import build_scenario
from forebay.offline.replay.inputs.default_pool import default_fleet, preset_trace
from forebay.offline.replay.inputs.nodes import NodeOptions
from forebay.offline.replay.jobs.job import FOREBAY, Job, run_job
from forebay.offline.replay.loop.closed_loop import run
from forebay.offline.replay.loop.policy import Targets
from forebay.offline.replay.loop.recorder import RecordedForebay
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.replay.loop.score import PolicyScore, score
from forebay.offline.simulation import SimulationOptions
from forebay.offline.traces import window

PER_GPU = "forebay, per GPU"
POLICIES = (FOREBAY, PER_GPU, "hpa", "keda-rate", "dynamo-throughput")
FIRST_HOUR = 18.0
"""The peak comes first, and then the evening."""
SLO = Slo(ttft_seconds=1.0, itl_seconds=0.05, target=0.99)


@dataclass(frozen=True, slots=True)
class Served:
    """One model: traffic, and what its replicas are on each node pool (role, GPUs, speed)."""

    preset: str
    requests_per_second: float
    variants: Mapping[str, Sequence[tuple[Role, int, Performance]]]


@dataclass(frozen=True, slots=True)
class Case:
    """What is served together."""

    name: str
    node_pools: Sequence[NodePool]
    served: Mapping[str, Served]


def known_speeds() -> dict[tuple[str, int], Performance]:
    """Return the speeds of the replay's default pool by node pool and GPUs."""
    (pool,) = default_fleet().pools.values()
    return {
        (v.node_pool or "", v.gpus_per_replica): v.performance
        for v in pool.variants
        if isinstance(v.performance, Performance)
    }


def scaled(speed: Performance, factor: float) -> Performance:
    """Return the speed of a replica that is so many times as fast and holds as many times the KV cache."""
    return replace(
        speed,
        prefill_seconds_per_token=speed.prefill_seconds_per_token / factor,
        decode_base_seconds=speed.decode_base_seconds / factor**0.5,
        decode_seconds_per_kv_token=speed.decode_seconds_per_kv_token / factor,
        kv_capacity_tokens=round(speed.kv_capacity_tokens * factor),
    )


def cases() -> tuple[Case, ...]:
    """Return the three cases."""
    speeds = known_speeds()
    prefill, two, h200 = speeds["h100", 1], speeds["h100", 2], speeds["h200", 1]
    four = scaled(two, 1.9)
    h100 = NodePool(name="h100", accelerator="H100", gpus_per_node=8, usd_per_gpu_hour=2.95)
    l40s = NodePool(name="l40s", accelerator="L40S", gpus_per_node=4, usd_per_gpu_hour=1.00)
    return (
        Case(
            "prefill of 1 GPU and decode of 2 on 8-GPU nodes",
            (h100,),
            {"chat": Served("chat", 60.0, {"h100": ((Role.PREFILL, 1, prefill), (Role.DECODE, 2, two))})},
        ),
        Case(
            "three models, replicas of 1, 2 and 4 GPUs, on shared 8-GPU nodes",
            (h100,),
            {
                "chat": Served("chat", 12.0, {"h100": ((Role.SERVE, 1, h200),)}),
                "code": Served("code", 15.0, {"h100": ((Role.SERVE, 2, two),)}),
                "long": Served("chat", 25.0, {"h100": ((Role.SERVE, 4, four),)}),
            },
        ),
        Case(
            "two models on 4-GPU and 8-GPU nodes",
            (l40s, h100),
            {
                name: Served(
                    preset, rate, {"l40s": ((Role.SERVE, 2, scaled(two, 0.4)),), "h100": ((Role.SERVE, 2, two),)}
                )
                for name, preset, rate in (("chat", "chat", 15.0), ("code", "code", 15.0))
            },
        ),
    )


def scenario(case: Case, *, hours: float, seed: int) -> Scenario:
    """Return a case as a scenario."""
    pools, traces = {}, {}
    for number, (name, served) in enumerate(case.served.items()):
        key = PoolKey("bench", name)
        variants = tuple(
            Variant(
                name=node_pool,
                role=role,
                node_pool=node_pool,
                gpus_per_replica=gpus,
                min_replicas=1 if node_pool == case.node_pools[0].name else 0,
                max_replicas=40,
                performance=speed,
                start_up_seconds=120.0,
            )
            for node_pool, given in served.variants.items()
            for role, gpus, speed in given
        )
        pools[key] = Pool(key=key, slo=SLO, variants=variants)
        trace = preset_trace(
            served.preset,
            seed=seed + number,
            hours=FIRST_HOUR + hours,
            requests_per_second=served.requests_per_second,
        )
        traces[key] = window(trace, 3600.0 * FIRST_HOUR)
    return build_scenario(
        Fleet(pools=pools, node_pools={pool.name: pool for pool in case.node_pools}),
        traces,
        name=case.name,
        options=SimulationOptions(seed=seed),
        nodes=NodeOptions(lead_seconds=180.0),
    )


class PerGpu(RecordedForebay):
    """Forebay without the sight of which replica is on which node."""

    def tick(self, seen: FleetObservation) -> Mapping[PoolKey, Targets]:
        """Decide per GPU."""
        blind = {name: replace(pool, placement=None) for name, pool in seen.node_pools.items()}
        return super().tick(replace(seen, node_pools=blind))


def outcome(made: Scenario, policy: str) -> PolicyScore:
    """Run one policy."""
    if policy == PER_GPU:
        return score(made, run(made, PerGpu(made), name=PER_GPU))
    return run_job(made, Job(policy=policy)).score


def main() -> None:
    """Print one table per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policies", nargs="*", default=list(POLICIES), metavar="NAME")
    parser.add_argument("--cases", nargs="*", type=int, default=[0, 1, 2], metavar="NUMBER")
    given = parser.parse_args()
    for case in [cases()[number] for number in given.cases]:
        made = scenario(case, hours=given.hours, seed=given.seed)
        print(f"\n{case.name} ({made.requests:,} requests)\n")
        print("| policy | bill, $ | SLO met | node-hours | GPU-hours | nodes launched | of these unused |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        for policy in given.policies:
            got = outcome(made, policy)
            met = f"{100 * got.slo_attainment:.2f} %"
            print(
                f"| {policy} | {got.cost_usd:.0f} | {f'**{met}**' if got.meets_target else met}"
                f" | {got.node_hours:.0f} | {got.gpu_hours:.0f} | {got.nodes_launched} | {got.nodes_unused} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
