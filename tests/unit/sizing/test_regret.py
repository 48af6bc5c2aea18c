"""Replicas move once standing still has cost as much as the move."""

from dataclasses import replace

import numpy as np
import pytest

from forebay.sizing.curve import SizedCurve
from forebay.sizing.regret import Regret, RoleSituation, wanted


def curve(erlangs: float, largest: int = 40) -> SizedCurve:
    """Return misses that fall to a quarter with every replica beyond the load."""
    replicas = np.arange(largest + 1.0)
    return SizedCurve(replicas, erlangs * np.minimum(1.0, 0.25 ** (replicas - erlangs)), erlangs)


def situation(count: float, erlangs: float, **changes: object) -> RoleSituation:
    values: dict[str, object] = {
        "count": count,
        "order": curve(erlangs),
        "release": curve(erlangs),
        "price": 20.0,
        "allowed_misses_per_second": 1.0,
        "requests_per_second": 10.0,
        "lead_seconds": 240.0,
        "action_seconds": 180.0,
        "present": 1,
        "keep": 0,
        "order_floor": 0,
        "held": False,
        "at_least": 1,
        "seen": 15.0,
    }
    return RoleSituation(**{**values, **changes})  # type: ignore[arg-type]


def test_an_action_that_costs_nothing_comes_sooner() -> None:
    dear = rounds_until_moved(situation(6.0, 2.0))
    assert rounds_until_moved(situation(6.0, 2.0, action_seconds=0.0)) < dear


def rounds_until_moved(now: RoleSituation, most: int = 1000) -> int:
    regret = Regret()
    return next((n for n in range(1, most) if wanted(regret, now).replicas != now.count), most)


def test_what_pays_much_moves_at_once_and_what_pays_little_waits() -> None:
    never = 1.0e9  # the even floor is out of the way
    assert rounds_until_moved(situation(2.0, 8.0, allowed_misses_per_second=never)) == 1
    slow = rounds_until_moved(situation(16.0, 8.0, allowed_misses_per_second=never))
    assert 10 < slow < 40, "replicas too many pay for their release after about a lead time"


def test_noise_that_cancels_itself_never_moves_anything() -> None:
    regret = Regret()
    for number in range(400):
        erlangs = 8.4 if number % 2 else 7.6
        assert wanted(regret, situation(12.0, erlangs)).replicas == 12.0


def test_a_role_that_may_not_release_says_when_it_would() -> None:
    regret, now = Regret(), situation(30.0, 4.0, held=True)
    for _ in range(20):
        found = wanted(regret, now)
        assert found.replicas == 30.0
    assert found.holds_back
    assert wanted(regret, replace(now, held=False)).replicas < 15.0, "what was held goes as soon as it may"


def test_nothing_is_released_below_what_pays_now_or_is_kept() -> None:
    for changes in ({"present": 20}, {"keep": 20}, {"order_floor": 20}):
        regret, now = Regret(), situation(30.0, 4.0, **changes)
        found = [wanted(regret, now).replicas for _ in range(100)]
        assert min(found) == 20.0, changes


def test_the_even_floor_bounds_what_one_round_may_miss() -> None:
    cheap = situation(3.0, 8.0, price=1e-6, allowed_misses_per_second=0.05)
    target = wanted(Regret(), cheap).replicas
    assert curve(8.0).misses_at(target) <= 2.0 * 0.05 < curve(8.0).misses_at(target - 1)


def test_a_move_that_is_not_carried_out_is_asked_for_again_and_forgotten_when_it_no_longer_pays() -> None:
    regret = Regret()
    asked = [wanted(regret, situation(30.0, 4.0)).replicas for _ in range(500)]
    assert asked[-1] < 30.0
    calmer = [wanted(regret, situation(30.0, 27.0)).replicas for _ in range(40)]
    assert calmer[-1] >= 30.0, "regret that nobody acted on does not grow without bound"


def test_a_count_that_somebody_else_changed_begins_anew() -> None:
    regret = Regret()
    for _ in range(8):
        wanted(regret, situation(16.0, 8.0))
    assert regret.sums.max() > 0.0
    wanted(regret, situation(17.0, 8.0))
    assert regret.count == 17.0
    assert regret.sums.max() <= 15.0 * 17.0


@pytest.mark.parametrize("count", [7.4, 9.0, 12.7])
def test_mixed_fleets_have_fractions(count: float) -> None:
    assert wanted(Regret(), situation(count, 4.0, allowed_misses_per_second=1e9)).replicas == count
