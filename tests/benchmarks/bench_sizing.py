"""Predicted against simulated attainment: loads of .3 to .95, 1 to 64 replicas, three length mixes, each role.

The prediction is the queueing model that sizing uses; the simulation is request by request, with Poisson arrivals
at a constant rate, on a fleet whose other role is large enough never to matter.
``python -m tests.benchmarks.bench_sizing`` prints it for all loads, and for the counts that the rule would buy.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from forebay.flow.fleet import Pool, PoolKey, Role, Slo, Variant
from forebay.flow.performance import Performance
from forebay.flow.trace import FloatArray, RequestTrace
from forebay.offline.simulation import SimulatedPool
from forebay.sizing.curve import certain, miss_curve
from forebay.sizing.queueing import miss_share
from forebay.sizing.work import Correction, Lengths, ReplicaWork, replica_work
from tests.benchmarks.policy_traces import LONG_PROMPTS, LONG_SLO, PERFORMANCE, SLO

LOADS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
REPLICAS = (1, 2, 4, 8, 16, 32, 64)
MISS_PRICE = 20.0
LIMITS = {Role.PREFILL: 0.01, Role.DECODE: 0.01, Role.SERVE: 0.04}
"""Largest error allowed at the chosen size; mixed replicas also depend on how the length of answers varies."""
SMALL_FLEET_LIMIT = 0.025
"""The same for one or two replicas, where the approximations of queueing theory are weakest."""
WARM_UP_SHARE = 0.1
_KEY = PoolKey("bench", "sizing")


@dataclass(frozen=True, slots=True)
class Mix:
    """Prompts and answers as lognormals (mean and deviation of the logarithm), and what serves them."""

    name: str
    prompt: tuple[float, float]
    answer: tuple[float, float]
    performance: Performance
    slo: Slo

    def draw(self, count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Return prompt and answer tokens."""
        prompts = np.clip(rng.lognormal(*self.prompt, count), 16, 100_000).round()
        return prompts, np.clip(rng.lognormal(*self.answer, count), 2, 3_000).round()


MIXES = (
    Mix("chat", (6.6, 1.0), (5.0, 0.8), PERFORMANCE, SLO),
    Mix("code", (7.4, 0.6), (3.1, 0.6), PERFORMANCE, SLO),
    Mix("long", (8.8, 0.9), (5.5, 0.8), LONG_PROMPTS, LONG_SLO),
)


def work_of(mix: Mix) -> ReplicaWork:
    """Return the work of the mix as sizing sees it: means, deciles and the context of running sequences."""
    prompts, answers = mix.draw(200_000, np.random.default_rng(9))
    # A sequence is seen running in proportion to its answer's length, half of it written on average.
    context = float((answers * (prompts + answers / 2.0)).sum() / answers.sum())
    lengths = Lengths(
        input_tokens=float(prompts.mean()),
        output_tokens=float(answers.mean()),
        context_tokens=context,
        input_sample=tuple(float(q) for q in np.quantile(prompts, (np.arange(10) + 0.5) / 10.0)),
        squared_ratio=float(np.mean(prompts**2) / np.mean(prompts) ** 2),
    )
    return replica_work(mix.performance, Correction(), lengths, mix.slo)


def predicted(role: Role, mix: Mix, work: ReplicaWork, rate: float, replicas: int) -> float:
    """Return the predicted attainment, relative to what an idle system could serve."""
    share = miss_share(role, np.array([rate]), np.array([float(replicas)]), work, mix.slo)[0]
    servable = float(np.mean(work.prefill_sample < mix.slo.ttft_seconds)) if role is not Role.DECODE else 1.0
    return float(1.0 - share / servable)


def simulated(
    role: Role, mix: Mix, work: ReplicaWork, rate: float, replicas: int, requests: int, seed: int
) -> float:
    """Return the attainment of the role's own objective in the simulation, relative to servable requests."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1.0 / rate, requests))
    prompts, answers = mix.draw(requests, rng)
    trace = RequestTrace(
        name=mix.name,
        arrival_seconds=arrivals,
        input_tokens=prompts.astype(np.int64),
        output_tokens=answers.astype(np.int64),
    )
    counts = {role.value: replicas}
    if role is not Role.SERVE:
        other = Role.DECODE if role is Role.PREFILL else Role.PREFILL
        counts[other.value] = 4 * math.ceil(rate * work.seconds(other)) + 4
    variants = tuple(
        Variant(name=name, role=Role(name), max_replicas=count, performance=mix.performance)
        for name, count in counts.items()
    )
    pool = SimulatedPool(
        Pool(key=_KEY, slo=mix.slo, variants=variants), trace, initial={v.key: v.max_replicas for v in variants}
    )
    pool.run_until(float(arrivals[-1]) + 300.0)
    result = pool.result()
    idle = mix.performance.prefill_base_seconds + mix.performance.prefill_seconds_per_token * prompts
    scored = (idle <= mix.slo.ttft_seconds) & (np.arange(requests) >= WARM_UP_SHARE * requests)
    in_time = result.ttft_seconds <= mix.slo.ttft_seconds
    fluent = result.itl_seconds <= mix.slo.itl_seconds
    met = {Role.PREFILL: in_time, Role.DECODE: fluent, Role.SERVE: in_time & fluent}[role]
    return float(met[scored].mean())


def requests_for(rate: float, work: ReplicaWork, role: Role) -> int:
    """Return enough requests for a steady state: thirty thousand, or 40 service times of a large fleet."""
    return max(
        30_000, math.ceil(400.0 * rate * max(work.prefill_seconds, 1.0 if role is not Role.PREFILL else 0.0))
    )


def table(role: Role, mix: Mix, *, seed: int = 0) -> list[str]:
    """Return the lines of one role and mix: predicted / simulated attainment in percent per load and count."""
    work = work_of(mix)
    lines = []
    for replicas in REPLICAS:
        cells = []
        for load in LOADS:
            rate = load * replicas / work.seconds(role)
            got = simulated(role, mix, work, rate, replicas, requests_for(rate, work, role), seed)
            cells.append(f"{100 * predicted(role, mix, work, rate, replicas):.1f} / {100 * got:.1f}")
        lines.append(f"| {mix.name} {role.value} | {replicas} | " + " | ".join(cells) + " |")
    return lines


def at_chosen_size(
    role: Role, mix: Mix, target_replicas: int, *, seed: int = 0
) -> tuple[int, float, float, float]:
    """Return the count that the rule buys, the load it runs at, and predicted and simulated attainment there."""
    work = work_of(mix)
    rate = 0.75 * target_replicas / work.seconds(role)
    both = work.prefill_seconds + work.decode_seconds if role is not Role.SERVE else work.serve_seconds
    chosen = miss_curve(role, certain(rate), 0.0, work, mix.slo).cheapest(MISS_PRICE * both)
    got = simulated(role, mix, work, rate, chosen, requests_for(rate, work, role), seed)
    return chosen, rate * work.seconds(role) / chosen, predicted(role, mix, work, rate, chosen), got


def chosen_table(role: Role, mix: Mix, *, seed: int = 0) -> tuple[list[str], list[tuple[int, float]]]:
    """Return the lines at the chosen sizes, and count and error of each."""
    lines, errors = [], []
    for target in REPLICAS:
        chosen, load, said, got = at_chosen_size(role, mix, target, seed=seed)
        errors.append((chosen, said - got))
        lines.append(
            f"| {mix.name} {role.value} | {chosen} | {load:.2f} | {100 * said:.2f} | {100 * got:.2f} "
            f"| {100 * (said - got):+.2f} |"
        )
    return lines, errors


CHOSEN_HEADER = (
    "| mix, role | replicas bought | load | predicted % | simulated % | error |\n|---|---|---|---|---|---|"
)


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("role", list(Role), ids=str)
@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_attainment_at_the_chosen_size_is_predicted(role: Role, mix: Mix) -> None:
    lines, errors = chosen_table(role, mix)
    print("\n" + "\n".join([CHOSEN_HEADER, *lines]))
    for chosen, error in errors:
        assert abs(error) <= (SMALL_FLEET_LIMIT if chosen <= 2 else LIMITS[role])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", type=Role, action="append", choices=list(Role), help="default: prefill, decode")
    parser.add_argument("--chosen-only", action="store_true", help="only the counts that the rule buys")
    options = parser.parse_args(arguments)
    roles = options.role or [Role.PREFILL, Role.DECODE]
    if not options.chosen_only:
        print("| mix, role | replicas | " + " | ".join(f"load {load}" for load in LOADS) + " |")
        print("|---" * (2 + len(LOADS)) + "|")
        for role in roles:
            for mix in MIXES:
                print("\n".join(table(role, mix)), flush=True)
    print(f"\n{CHOSEN_HEADER}")
    for role in roles:
        for mix in MIXES:
            print("\n".join(chosen_table(role, mix)[0]), flush=True)


if __name__ == "__main__":
    main()
