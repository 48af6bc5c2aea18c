"""What was needed lately is kept where no forecast says that it may go."""

import pytest

from forebay.flow.fleet import Role
from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.size.role_draft import _reactive_peak

LEAD = 60.0
HOLD = 300.0


@pytest.fixture
def memory() -> PoolMemory:
    return PoolMemory(forecaster=Forecaster(PolicySettings()))


def seen(memory: PoolMemory, start: float, needs: list[int], *, hold: float) -> list[int]:
    """Return what is held in rounds of 15 s with these needs."""
    return [
        _reactive_peak(memory, Role.DECODE, need, start + 15.0 * index, LEAD, hold)
        for index, need in enumerate(needs)
    ]


def test_a_forecast_that_ends_leaves_what_was_needed_while_it_decided(memory: PoolMemory) -> None:
    """Protects from giving away at once what is ordered again with the next forecast."""
    assert seen(memory, 0.0, [8, 9, 7], hold=0.0) == [8, 9, 7]
    assert seen(memory, 45.0, [3, 3], hold=HOLD) == [9, 9]
    assert seen(memory, 75.0, [2] * 20, hold=HOLD) == [9] * 17 + [7, 3, 3]


def test_a_time_in_which_nothing_was_seen_does_not_count(memory: PoolMemory) -> None:
    seen(memory, 0.0, [8, 9, 7], hold=0.0)
    assert seen(memory, 7200.0, [2] * 22, hold=HOLD) == [9] * 20 + [7, 2]


def test_little_is_remembered_of_a_constant_need(memory: PoolMemory) -> None:
    seen(memory, 0.0, [4] * 100, hold=0.0)
    assert memory.reactive_peaks[Role.DECODE] == [(99 * 15.0, 4)]


@pytest.mark.parametrize(("lead", "interval"), [(5.0, 15.0), (0.0, 15.0), (20.0, 60.0), (30.0, 15.0)])
def test_needs_are_forgotten_however_short_the_lead_time_is(
    memory: PoolMemory, lead: float, interval: float
) -> None:
    """Protects: beside a hold of a minute an ordinary round looked like a gap, and nothing was ever released."""
    for number in range(40):
        need = 10 if number == 0 else 2
        held = _reactive_peak(memory, Role.SERVE, need, interval * number, lead, 0.0)
    assert held == 2
    assert len(memory.reactive_peaks[Role.SERVE]) <= 2
