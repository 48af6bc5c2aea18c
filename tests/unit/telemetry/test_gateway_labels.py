"""Gateways that are told apart by a label in which duplicate scrapes usually differ."""

import re

import pytest

from forebay.flow.fleet import PoolKey, Slo
from forebay.telemetry.query.dialect import Signal
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.grouping import make_plan
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import GatewayTarget, PoolTarget

SETTINGS = PrometheusSettings()


def pool(name: str, **labels: str) -> PoolTarget:
    gateway = GatewayTarget(dialect="requests-counter", labels=labels)
    slo = Slo(ttft_seconds=1.0, itl_seconds=0.05)
    return PoolTarget(key=PoolKey("ns", name), slo=slo, engine="vllm", workloads=(), gateway=gateway)


def questions(*targets: PoolTarget) -> list[str]:
    """Return what is asked about the only group of these pools."""
    (group,) = make_plan(targets, SETTINGS).groups.values()
    ask = Expressions(group, SETTINGS, {"forebay:gateway_requests_total"}, window_seconds=60)
    found = [
        ask.arrivals(Signal.STARTED, 15),
        ask.growth(Signal.STARTED, 15),
        ask.born(Signal.STARTED, 15),
        ask.replicas(),
        ask.duplicates(),
    ]
    return [query for query in found if query is not None]


def left_out(query: str) -> set[str]:
    """Return every label that the query drops from series on its way."""
    return {name for names in re.findall(r"without\(([^)]*)\)", query) for name in names.split(",")}


@pytest.mark.parametrize("label", ["job", "service", "endpoint", "replica"])
def test_a_label_that_tells_pools_apart_reaches_the_answers(label: str) -> None:
    """Protects: it was dropped as one in which two scrapes of a gateway differ, and with it all of its traffic."""
    asked = questions(pool("a", **{label: "one"}), pool("b", **{label: "two"}))
    assert len(asked) >= 4
    for query in asked:
        assert left_out(query) == set(SETTINGS.duplicate_labels) - {label}


def test_other_gateways_are_counted_once_as_ever() -> None:
    for query in questions(pool("a", route="one")):
        assert left_out(query) == set(SETTINGS.duplicate_labels)


def test_one_namespace_selects_series_in_few_ways() -> None:
    """Protects: each pool with label names of its own adds queries to every round of the whole cluster."""
    own = [pool(f"p{number}", **{f"label_{number}": "x"}) for number in range(20)]
    other = PoolTarget(key=PoolKey("other", "chat"), slo=own[0].slo, engine="vllm", workloads=())
    plan = make_plan([*own, other], SETTINGS)
    told = [place.gateway_problem for place in plan.pools.values()]
    assert sum(bool(problem) for problem in told) == 13, "seven gateways beside the engines' own labels"
    assert "use the label names and the metric prefix of another one" in told[-2]
    assert not plan.pools[other.key].problem
