"""Time and quality of fleet plans: `make bench-plan`, or `python -m tests.benchmarks.bench_plan`.

The hardware figures (price, TFLOPs, bandwidth, memory, power) are public list values; speeds follow from a
roofline (prefill bound by compute, decode by bandwidth) for a 14 GB model. Only times and gaps are the result;
prices are plausible, not quotes.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forebay.flow.fleet import PoolKey, RatioBand, Role, VariantKey
from forebay.flow.plan import NodeSupply, PlanProblem, PoolNeed, VariantOption
from forebay.flow.sizing import MissCurve, RoleNeed, WorkBucket
from forebay.planning import solve

# name: ($/h, TFLOPs, TB/s, GB, W)
TYPES = {
    "l4": (0.8, 121, 0.30, 24, 72),
    "a10g": (1.01, 125, 0.60, 24, 150),
    "l40s": (1.9, 362, 0.86, 48, 350),
    "a100-40": (2.9, 312, 1.55, 40, 400),
    "a100-80": (3.67, 312, 2.0, 80, 400),
    "h100": (7.5, 989, 3.35, 80, 700),
    "h200": (9.0, 989, 4.8, 141, 700),
    "b200": (13.0, 2250, 8.0, 180, 1000),
    "mi300x": (6.8, 1307, 5.3, 192, 750),
    "t4": (0.53, 65, 0.32, 16, 70),
    "v100": (2.5, 125, 0.9, 32, 300),
    "rtx6000": (1.6, 180, 0.96, 48, 300),
    "h20": (3.2, 148, 4.0, 96, 400),
    "gh200": (8.2, 989, 4.0, 96, 700),
    "mi250": (3.4, 362, 3.2, 128, 560),
    "gaudi3": (5.0, 1835, 3.7, 128, 900),
}
INPUTS = (25, 50, 100, 250, 500, 1000, 2000, 4000, 8000, 16000)
OUTPUTS = (200,)
REFERENCE = "a100-80"


def rates(name: str, input_tokens: int, output_tokens: int) -> dict[Role, float]:
    """Return requests per second of one replica per role, 0 where a TTFT of 1 s or an ITL of 50 ms cannot hold."""
    _, tflops, bandwidth, memory, _ = TYPES[name]
    compute, wire = 0.45e12 * tflops, 0.65e12 * bandwidth
    weights, kv = 14e9, 0.125e6
    prefill_seconds = input_tokens * weights / compute
    room = max(0.0, 0.9 * memory * 1e9 - weights)
    context = input_tokens + output_tokens / 2
    batch = (0.05 - weights / wire) / (context * kv / wire + weights / compute)
    batch = min(256.0, room // (kv * (input_tokens + output_tokens)), batch)
    decode = 0.0
    if batch >= 1:
        step = (weights + batch * context * kv) / wire + batch * weights / compute
        decode = batch / (step * output_tokens)
    prefill = 0.8 / prefill_seconds if prefill_seconds < 0.8 else 0.0
    serve = 0.85 / (prefill_seconds + 1 / decode) if prefill and decode else 0.0
    return {Role.PREFILL: prefill, Role.DECODE: decode, Role.SERVE: serve}


def weights_of(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the share of requests per (input, output) cell: bumps in the logarithms of both lengths."""
    generator = np.random.default_rng(seed)
    rows = np.exp(-(((np.log(INPUTS) - generator.uniform(4.5, 7.5)) / generator.uniform(0.8, 1.8)) ** 2))
    columns = np.exp(-(((np.log(OUTPUTS) - generator.uniform(4, 6)) / generator.uniform(0.7, 1.4)) ** 2))
    cells = np.outer(rows, columns) * generator.gamma(2.0, 0.5, (len(INPUTS), len(OUTPUTS)))
    return np.asarray(cells / cells.sum())


def curve(erlangs: float, rate: float) -> MissCurve:
    """Return the misses of a queue with exponential tails around ``erlangs``, at 160 capacities."""
    capacity = np.linspace(0.0, erlangs * 1.8 + 12.0, 160)
    margin = np.maximum(0.0, capacity - erlangs) / np.sqrt(max(erlangs, 1.0))
    misses = rate * np.where(capacity <= erlangs, 1.0, np.exp(-1.5 * margin))
    return MissCurve(tuple(capacity.tolist()), tuple(misses.tolist()))


def pays(misses: MissCurve, price: float) -> float:
    """Return the capacity that costs least at a price of a miss."""
    costs = [n + price * missed for n, missed in zip(misses.capacity, misses.misses_per_second, strict=True)]
    return misses.capacity[costs.index(min(costs))]


def need(
    role: Role, names: Sequence[str], requests_per_second: float, seed: int
) -> tuple[RoleNeed, dict[str, float]]:
    """Return the need of one role with a bucket per cell, and the mean speed of each type."""
    share = weights_of(seed)
    table = {n: [[rates(n, i, o)[role] for o in OUTPUTS] for i in INPUTS] for n in names}
    able = np.max([table[n] for n in names], axis=0) > 0
    reference = np.where(
        np.asarray(table[REFERENCE]) > 0, table[REFERENCE], np.max([table[n] for n in names], axis=0)
    )
    work = np.where(able, requests_per_second * share / np.where(reference > 0, reference, 1.0), 0.0)
    erlangs = float(work.sum())
    speeds = {
        n: np.where(reference > 0, np.asarray(table[n]) / np.where(reference > 0, reference, 1.0), 0.0)
        for n in names
    }
    buckets = tuple(
        WorkBucket(
            float(work[i, o] / erlangs), tuple((VariantKey(role, n), float(speeds[n][i, o])) for n in names)
        )
        for i in range(len(INPUTS))
        for o in range(len(OUTPUTS))
        if work[i, o] > 0
    )
    mean = {n: float((work * speeds[n]).sum() / erlangs) for n in names}
    seconds = erlangs / requests_per_second
    misses = curve(erlangs, requests_per_second)
    return (
        RoleNeed(
            role=role,
            order=misses,
            wanted=pays(misses, 20.0 * seconds),
            miss_price_replica_seconds=20.0 * seconds,
            erlangs=erlangs,
            speed=tuple((VariantKey(role, n), s) for n, s in mean.items()),
            seconds_per_request=seconds,
            buckets=buckets,
        ),
        mean,
    )


def options(
    role: Role, names: Sequence[str], speed: dict[str, float], generator: np.random.Generator
) -> list[VariantOption]:
    """Return one option per type, some of which hold replicas already."""
    return [
        VariantOption(
            name=name,
            role=role,
            node_pool=name,
            gpus_per_replica=1,
            usd_per_replica_hour=TYPES[name][0],
            watts_per_replica=float(TYPES[name][4]),
            speed=max(speed[name], 1e-6),
            min_replicas=0,
            max_replicas=600,
            current=int(generator.integers(0, 3)),
            lead_time_seconds=240.0,
        )
        for name in names
    ]


def large(seed: int) -> PlanProblem:
    """Return 16 types x 10 buckets x 3 roles: a prefill/decode pool and a mixed pool, every limit binding."""
    generator = np.random.default_rng(seed)
    names = tuple(TYPES)
    split: list[tuple[RoleNeed, list[VariantOption]]] = []
    mixed: list[tuple[RoleNeed, list[VariantOption]]] = []
    for role, rate, needs in (
        (Role.PREFILL, 200.0, split),
        (Role.DECODE, 200.0, split),
        (Role.SERVE, 60.0, mixed),
    ):
        one, speed = need(role, names, rate, seed)
        needs.append((one, options(role, names, speed, generator)))
    pools = (
        PoolNeed(
            key=PoolKey("bench", "split"),
            roles=tuple(n for n, _ in split),
            options=tuple(o for _, many in split for o in many),
            priority=1,
            prefill_to_decode=RatioBand(lowest=0.2, highest=4.0),
            spare_replicas=1,
        ),
        PoolNeed(
            key=PoolKey("bench", "mixed"),
            roles=tuple(n for n, _ in mixed),
            options=tuple(o for _, many in mixed for o in many),
            spare_replicas=1,
        ),
    )
    free = solve(PlanProblem(pools=pools))
    used = dict.fromkeys(names, 0)
    watts = 0.0
    for counts in free.replicas.values():
        for variant, replicas in counts.items():
            used[variant.name] += replicas
            watts += replicas * TYPES[variant.name][4]
    stock = {n: max(2, int(0.6 * count)) if count else int(generator.integers(0, 12)) for n, count in used.items()}
    return PlanProblem(
        pools=pools, gpu_stock=stock, budget_usd_per_hour=1.1 * free.usd_per_hour, power_limit_watts=1.1 * watts
    )


def shared(seed: int) -> PlanProblem:
    """Return 50 prefill/decode pools that share the stock of four types, which covers 70 % of what they want."""
    generator = np.random.default_rng(seed)
    names = ("l40s", "a100-80", "h100", "h200")
    pools = []
    for index in range(50):
        roles, many = [], []
        for role in (Role.PREFILL, Role.DECODE):
            one, speed = need(role, names, float(generator.uniform(2, 40)), seed * 100 + index)
            roles.append(replace(one, buckets=()))
            many += options(role, names, speed, generator)
        pools.append(
            PoolNeed(
                key=PoolKey("bench", f"pool-{index:02}"),
                roles=tuple(roles),
                options=tuple(many),
                priority=index % 3,
                prefill_to_decode=RatioBand(lowest=0.1, highest=8.0),
            )
        )
    free = solve(PlanProblem(pools=tuple(pools)))
    used = dict.fromkeys(names, 0)
    for counts in free.replicas.values():
        for variant, replicas in counts.items():
            used[variant.name] += replicas
    return PlanProblem(pools=tuple(pools), gpu_stock={n: max(2, int(0.7 * count)) for n, count in used.items()})


def on_nodes(seed: int) -> PlanProblem:
    """Return the 50 pools with replicas of 1, 2 or 4 GPUs, on nodes of 8 that are bought whole."""
    generator = np.random.default_rng(seed)
    pools = []
    for pool in shared(seed).pools:
        gpus = int(generator.choice([1, 2, 4]))
        sized = [
            replace(one, gpus_per_replica=gpus, usd_per_replica_hour=gpus * one.usd_per_replica_hour, current=0)
            for one in pool.options
        ]
        pools.append(replace(pool, options=tuple(sized)))
    names = ("l40s", "a100-80", "h100", "h200")
    nodes = {name: NodeSupply(gpus_per_node=8, usd_per_node_hour=8 * TYPES[name][0]) for name in names}
    return PlanProblem(pools=tuple(pools), nodes=nodes)


@dataclass(frozen=True, slots=True)
class Row:
    """One instance: what it is, how long it took (of this process's CPU, and in all), how good the answer is."""

    case: str
    seed: int
    cpu_seconds: float
    wall_seconds: float
    usd_per_hour: float
    gap: float
    solver: str


def measure(case: str, problem: PlanProblem, seed: int) -> Row:
    """Solve ``problem`` once cold and report the time and the proven gap."""
    started, cpu_started = time.perf_counter(), time.process_time()
    plan = solve(problem)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    return Row(case, seed, cpu, wall, plan.usd_per_hour, float("nan") if problem.nodes else plan.gap, plan.solver)


def main() -> None:
    """Print one row per instance and the median and maximum time per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    rows = [
        measure(case, make(seed), seed)
        for case, make in (
            ("16 types x 10 buckets x 3 roles", large),
            ("50 pools share 4 types", shared),
            ("50 pools on nodes of 4 types", on_nodes),
        )
        for seed in range(arguments.seeds)
    ]
    if arguments.json:
        print(json.dumps([{f: getattr(r, f) for f in Row.__slots__} for r in rows], indent=2))
        return
    print(f"{'case':34} {'seed':>4} {'CPU s':>7} {'wall s':>7} {'$/h':>9} {'gap':>8}  solver")
    for row in rows:
        print(
            f"{row.case:34} {row.seed:>4} {row.cpu_seconds:7.3f} {row.wall_seconds:7.3f} {row.usd_per_hour:9.2f} "
            f"{row.gap:8.2%}  {row.solver}"
        )
    for case in dict.fromkeys(row.case for row in rows):
        for clock in ("cpu", "wall"):
            times = sorted(getattr(row, f"{clock}_seconds") for row in rows if row.case == case)
            print(f"{case}: {clock} median {times[len(times) // 2]:.3f} s, max {times[-1]:.3f} s")


if __name__ == "__main__":
    main()
