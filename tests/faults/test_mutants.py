"""Each safety rule, taken out, is noticed by the invariant that it serves."""

import pytest

from tests.faults.mutants import MUTANTS, Mutant
from tests.faults.walk import THEMES, Walk

ROUNDS = 400
"""No more than a walk of test_walk.py has."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_a_rule_that_is_taken_out_is_missed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.take_out(monkeypatch)
    alike = [mutant.seed + 20 * number for number in range(3)]  # of the same theme and the same cluster
    others = [seed for seed in range(mutant.seed % len(THEMES), 20, len(THEMES)) if seed != mutant.seed]
    said = ""
    for seed in (*alike, *others):
        said = said or await _said_by(seed)
    assert said, "no walk of this theme noticed"
    assert said[0] in mutant.letters, said


async def _said_by(seed: int) -> str:
    """Return what an invariant says in a walk; "" if all hold."""
    try:
        await Walk(seed).run(ROUNDS)
    except AssertionError as error:
        return str(error)
    return ""
