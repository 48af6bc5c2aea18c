"""What a queue asks for."""

import math
from typing import Any

import pytest

from forebay.sizing.backlog import backlog_need

BASE: dict[str, Any] = {
    "waiting": 0.0,
    "seconds_per_request": 0.1,
    "rate": 20.0,
    "ready": 3.0,
    "starting": (),
    "lead_time_seconds": 60.0,
    "ttft_seconds": 0.5,
    "miss_price_replica_seconds": 4.0,
    "present_need": 3,
}


def test_no_queue_no_order() -> None:
    need = backlog_need(**BASE)
    assert (need.order, need.hold, need.left_seconds) == (None, False, 0.0)


def test_a_queue_that_drains_before_new_capacity_comes_is_left_to_drain_but_held() -> None:
    need = backlog_need(**{**BASE, "waiting": 200.0})
    assert need.left_seconds == 0.0
    assert need.order is None
    assert need.hold


def test_a_queue_that_stands_is_bought_down_at_the_least_cost() -> None:
    need = backlog_need(**{**BASE, "waiting": 500.0, "ready": 1.0, "rate": 20.0})
    left = 50.0 + (2.0 - 1.0) * 60.0
    assert need.left_seconds == pytest.approx(left)
    wanted = math.ceil(2.0 + math.sqrt(left * 20.0 * 4.0 / 60.0))
    assert need.order == min(wanted, 3 * 3 + 2)


def test_what_is_starting_drains_the_queue_too() -> None:
    alone = backlog_need(**{**BASE, "waiting": 300.0, "ready": 2.0})
    helped = backlog_need(**{**BASE, "waiting": 300.0, "ready": 2.0, "starting": ((10.0, 1.0), (20.0, 1.0))})
    assert alone.order is not None
    assert helped.left_seconds == 0.0
    assert helped.order is None


def test_an_unseen_queue_does_not_grow_out_of_a_rate_just_above_capacity() -> None:
    assert backlog_need(**{**BASE, "ready": 2.0, "rate": 20.3}).left_seconds == 0.0


def test_no_ready_replica_is_not_a_division_by_zero() -> None:
    need = backlog_need(**{**BASE, "waiting": 5.0, "ready": 0.0})
    assert need.hold
    assert need.order is not None


@pytest.mark.parametrize(
    ("ready", "starting", "left", "order"),
    [(6.0, [(60.0, 0.25)] * 4, 400.0, True), (2.0, [(60.0, 4.0)] * 3, 0.0, False)],
)
def test_a_replica_on_its_way_drains_as_much_as_its_type_can(
    ready: float, starting: list[tuple[float, float]], left: float, order: bool
) -> None:
    """Protects fleets of unequal GPUs: four small replicas were taken for four of the large ones."""
    need = backlog_need(
        **{
            **BASE,
            "waiting": 200.0,
            "seconds_per_request": 0.5,
            "rate": 16.0,
            "ready": ready,
            "starting": starting,
            "lead_time_seconds": 240.0,
        }
    )
    assert need.left_seconds == pytest.approx(left)
    assert (need.order is not None) is order
