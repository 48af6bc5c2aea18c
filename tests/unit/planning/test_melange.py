"""The worked example of Mélange (Griggs et al., 2024): its repository's README config, at several request rates.

Shares of a bucket that may be any fraction reach what slices reach when they are cut right: at 30 requests/s
one third of one bucket belongs on the A10G, which three slices can express and four or eight cannot.
"""

import pytest

from forebay.flow.fleet import PoolKey
from forebay.flow.sizing import MissCurve, WorkBucket
from forebay.planning import solve
from forebay.planning.highs import LinearProgram, SolverOptions, solve_program
from tests.keys import serve
from tests.unit.planning.problems import option, pool, problem, role_need

PRICE = {"a10g": 1.01, "a100": 3.67}
TPUT = {"a10g": ((2.0, 1.0), (5.0, 2.0)), "a100": ((20.0, 20.0), (40.0, 20.0))}
SHARE = ((0.2, 0.1), (0.5, 0.2))
CELLS = tuple((i, j) for i in range(2) for j in range(2))


def aggregate_cost(rate: float) -> tuple[float, dict[str, int]]:
    """Solve the instance with our program: continuous shares per bucket, whole GPUs."""
    work = {(i, j): rate * SHARE[i][j] / TPUT["a100"][i][j] for i, j in CELLS}
    erlangs = sum(work.values())
    buckets = tuple(
        WorkBucket(
            share=work[i, j] / erlangs,
            speed=tuple((serve(name), TPUT[name][i][j] / TPUT["a100"][i][j]) for name in PRICE),
        )
        for i, j in CELLS
    )
    must_serve = MissCurve((0.0, erlangs), (1e4, 0.0))
    options = [option(n, usd_per_replica_hour=PRICE[n], speed=1.0 if n == "a100" else 0.1) for n in PRICE]
    plan = solve(problem(pool("chat", [role_need(must_serve, price=1.0, buckets=buckets)], options)))
    return plan.usd_per_hour, {key.name: count for key, count in plan.replicas[PoolKey("test", "chat")].items()}


def sliced_cost(rate: float, slices: int) -> float:
    """Solve the paper's own form: every bucket cut into slices that go to one GPU type each."""
    program = LinearProgram()
    gpus = {name: program.column(cost=PRICE[name], integer=True) for name in PRICE}
    load: dict[str, list[tuple[int, float]]] = {name: [(gpus[name], -1.0)] for name in PRICE}
    for i, j in CELLS:
        for _ in range(slices):
            choice = {name: program.column(upper=1.0, integer=True) for name in PRICE}
            program.row([(column, 1.0) for column in choice.values()], lower=1.0, upper=1.0)
            for name, column in choice.items():
                load[name].append((column, rate * SHARE[i][j] / slices / TPUT[name][i][j]))
    for terms in load.values():
        program.row(terms, upper=0.0)
    return solve_program(program, SolverOptions(relative_gap=1e-9)).objective


@pytest.mark.parametrize(
    ("rate", "usd"), [(1, 1.01), (5, 2.02), (10, 3.67), (20, 3.67), (30, 4.68), (40, 7.34), (60, 9.36)]
)
def test_continuous_shares_find_the_cheapest_mix(rate: float, usd: float) -> None:
    cost, counts = aggregate_cost(rate)
    assert cost == pytest.approx(usd, abs=0.005), counts


@pytest.mark.parametrize(("slices", "usd"), [(1, 6.70), (2, 5.69), (3, 4.68), (4, 5.69), (8, 5.69)])
def test_the_sliced_form_gives_the_published_answers(slices: int, usd: float) -> None:
    assert sliced_cost(30, slices) == pytest.approx(usd, abs=0.005)
