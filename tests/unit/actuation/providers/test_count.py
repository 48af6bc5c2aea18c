"""How many nodes are asked for: up at once, down by idle nodes, and never a number that nothing comes of."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.actuation.providers.count import count_to_ask
from forebay.actuation.providers.sight import MachineClaim, ProviderSight
from tests.unit.actuation.providers.scenes import NOW, binding, node, situation, wish


@pytest.mark.parametrize(
    ("wanted", "warm", "limits", "asked", "count"),
    [
        (3, 0, {}, 1, 3),
        (3, 2, {}, 1, 5),
        (3, 2, {"max_nodes": 4}, 1, 4),
        (0, 0, {"min_nodes": 2}, 0, 2),
        (3, 0, {}, 3, 3),
    ],
)
def test_up_at_once_within_the_limits(
    wanted: int, warm: int, limits: dict[str, Any], asked: int, count: int
) -> None:
    given_wish = wish(wanted, warm_nodes=warm)
    assert count_to_ask(binding(None, **limits), given_wish, situation(), asked=asked) == count


def test_not_beyond_what_the_provisioner_may_buy() -> None:
    sight = ProviderSight(asked=6, ceiling=4)
    assert count_to_ask(binding(), wish(6), situation(sight=sight), asked=6) == 4


def test_down_only_by_nodes_that_no_pod_holds() -> None:
    seen = situation(node("a", gpus_held=8), node("b", gpus_held=1), node("c"), node("d"))
    assert count_to_ask(binding(), wish(1), seen, asked=4) == 2
    assert count_to_ask(binding(), wish(3), seen, asked=4) == 3


def test_a_node_that_goes_already_counts_no_more_and_a_cordoned_one_does() -> None:
    seen = situation(node("a", gpus_held=8), node("b", gpus_held=8, leaving=True, going=True))
    assert count_to_ask(binding(), wish(0), seen, asked=2) == 1
    cordoned = situation(node("a", gpus_held=8), node("b", gpus_held=8, leaving=True))
    assert count_to_ask(binding(), wish(0), cordoned, asked=2) == 2


def test_a_node_that_the_cloud_takes_back_gets_a_successor_beside_it() -> None:
    """Protects spot capacity: a static number counts the old node until it is gone, minutes later."""
    taken = node("b", gpus_held=8, leaving=True, going=True, reclaimed=True)
    seen = situation(node("a", gpus_held=8), taken, sight=ProviderSight(asked=2))
    assert count_to_ask(binding(), wish(2), seen, asked=2) == 3
    assert count_to_ask(binding(), wish(2), seen, asked=3) == 3
    gone = situation(node("a", gpus_held=8), node("c", gpus_held=8))
    assert count_to_ask(binding(), wish(2), gone, asked=3) == 2


def test_a_node_that_is_paid_for_anyway_stays() -> None:
    seen = situation(node("old"), node("young", created_seconds=NOW - 600))
    assert count_to_ask(binding(minimum_billing_seconds=3600.0), wish(0), seen, asked=2) == 1
    assert count_to_ask(binding(), wish(0), seen, asked=2) == 0


def test_no_raised_number_stays_behind_where_nothing_can_be_had() -> None:
    claims = (MachineClaim(name="x", created_seconds=NOW - 5, launched_seconds=NOW - 4),)
    sold_out = situation(node("a", gpus_held=8), sight=ProviderSight(claims=claims), blocked=True)
    assert count_to_ask(binding(), wish(5), sold_out, asked=5) == 2, "a partial fill counts"
    assert count_to_ask(binding(), wish(5), sold_out, asked=1) == 1, "nothing is raised"


@given(
    wanted=st.integers(0, 6),
    asked=st.integers(0, 6),
    held=st.lists(st.integers(0, 8), max_size=6),
    blocked=st.booleans(),
)
def test_no_node_with_pods_is_ever_given_back(wanted: int, asked: int, held: list[int], blocked: bool) -> None:
    seen = situation(*(node(f"n{i}", gpus_held=gpus) for i, gpus in enumerate(held)), blocked=blocked)
    count = count_to_ask(binding(), wish(wanted), seen, asked=asked)
    assert count >= min(asked, sum(gpus > 0 for gpus in held))
    if blocked:
        assert count <= asked
