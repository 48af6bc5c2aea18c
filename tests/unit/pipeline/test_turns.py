"""New forecasting state of a whole fleet is made a few pools per round; nobody waits for ever, none alone."""

from importlib import import_module

import pytest

from forebay.flow.fleet import PoolKey
from forebay.pipeline.remember import turns
from forebay.pipeline.remember.turns import Turns
from tests.unit.pipeline.fleets import KEY, World, fleet_world, split_pool, world

_MANY = 12


@pytest.fixture(autouse=True)
def three_beginnings_per_round(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = import_module("forebay.pipeline.decide")  # the package has a function of that name
    monkeypatch.setattr(decide, "Turns", lambda: Turns(3 * (turns._FIXED_STEPS + 5)))


def _fleet() -> World:
    keys = [PoolKey("serving", f"pool-{number:02}") for number in range(_MANY)]
    return fleet_world({key: split_pool(key) for key in keys}, dict.fromkeys(keys, 20.0))


def _forecasting(small: World) -> int:
    return sum(1 for decision in small.step().values() if decision.forecasts)


def test_the_forecasters_of_a_fleet_begin_in_turns() -> None:
    small = _fleet()
    begun = [_forecasting(small) for _ in range(30)]
    first = next(index for index, count in enumerate(begun) if count)
    assert begun[first : first + 4] == [3, 6, 9, 12]


def test_one_pool_begins_as_soon_as_it_knows_enough() -> None:
    alone, among = world(), _fleet()
    rounds_alone = next(number for number in range(40) if alone.step()[KEY].forecasts)
    rounds_among = next(number for number in range(40) if _forecasting(among))
    assert rounds_alone == rounds_among


def test_who_waits_for_a_new_lead_time_is_told_of_a_longer_one() -> None:
    small = _fleet()
    small.lead = 200.0
    small.run(40)
    small.lead = 90.0
    leads = [forecast.lead_time_seconds for pool in small.step().values() for forecast in pool.forecasts.values()]
    assert len(leads) == 2 * _MANY, "everybody has a forecast"
    assert set(leads) == {90.0, 180.0}
    small.run(_MANY)
    leads = [forecast.lead_time_seconds for pool in small.step().values() for forecast in pool.forecasts.values()]
    assert set(leads) == {90.0}
