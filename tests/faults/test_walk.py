"""Random walks of faults over the operator's real loop: whatever happens, the invariants hold.

A failure prints the walk's seed and its last events. ``FOREBAY_WALK_ROUNDS`` makes the walks longer.
"""

import os

import pytest

from tests.faults.plant import ROUND_SECONDS
from tests.faults.walk import Walk

ROUNDS = int(os.environ.get("FOREBAY_WALK_ROUNDS", "500"))
SEEDS = range(20)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_walk_of_faults(seed: int) -> None:
    walk = Walk(seed)
    try:
        await walk.run(ROUNDS)
    except AssertionError as error:
        ends = "\n".join(walk.told)
        raise AssertionError(f"seed {seed}: {error}; what happened last:\n{ends}") from error


def test_the_walks_are_long_enough() -> None:
    assert ROUNDS * len(SEEDS) >= 10_000
    assert ROUND_SECONDS == 15.0
