"""Parked replicas come back where they are missed, and go when nobody missed them."""

from dataclasses import replace
from typing import Any

import pytest

from forebay.flow.fleet import Role
from forebay.flow.observation import ParkedReplica
from forebay.forecast import Forecaster
from forebay.pipeline.guard.context import GuardContext
from forebay.pipeline.guard.parking import freed, take_back_parked
from forebay.pipeline.remember.memory import PoolMemory
from forebay.pipeline.size.supply import Supply
from tests.keys import prefill
from tests.unit.pipeline.fleets import split_pool, variant

NOW = 10_000.0
PREFILL = variant(Role.PREFILL, "p", max_replicas=5)
P = prefill("p")
POOL = split_pool(variants=(PREFILL, variant(Role.DECODE, "d")))


def parked(name: str = "a", *, age: float = 100.0, requests: float | None = 0.0) -> ParkedReplica:
    return ParkedReplica(name=name, since_seconds=NOW - age, requests=requests)


def context(
    *replicas: ParkedReplica, desired: int = 3, ready: int | None = None, burn: float = 0.5, **given: Any
) -> GuardContext:
    memory = PoolMemory(forecaster=Forecaster(POOL.settings))
    memory.windows["1h"].missed, memory.windows["1h"].finished = burn, 1.0 / (1.0 - POOL.slo.target)
    supply = Supply(desired, desired, desired if ready is None else ready, 0, parked=replicas)
    held, queued = given.pop("held", frozenset()), given.pop("queued", frozenset())
    supply = replace(supply, **given)
    return GuardContext(pool=POOL, memory=memory, supplies={P: supply}, held=held, queued=queued, at_seconds=NOW)


def gone(found: GuardContext, wanted: int = 3) -> tuple[str, ...]:
    return freed(found, PREFILL, wanted)


def test_an_empty_replica_goes_after_the_window() -> None:
    assert gone(context(parked(age=61.0))) == ("a",)
    assert gone(context(parked(age=59.0))) == ()


@pytest.mark.parametrize("requests", [1.0, None])
def test_one_that_holds_requests_or_does_not_tell_goes_when_its_patience_ends(requests: float | None) -> None:
    assert gone(context(parked(age=1700.0, requests=requests))) == ()
    assert gone(context(parked(age=1801.0, requests=requests))) == ("a",)


def test_nothing_goes_while_the_pool_misses_its_objective() -> None:
    assert gone(context(parked(), burn=2.5)) == ()
    assert gone(context(parked(age=1801.0), burn=2.5)) == ("a",), "other troubles must not keep it for ever"


def test_what_was_missed_before_a_quiet_hour_keeps_nothing() -> None:
    found = context(parked(), burn=2.5)
    found.memory.last_arrival_seconds = NOW - 3_601.0
    assert gone(found) == ("a",)


def test_nothing_goes_beside_replicas_that_kubernetes_would_remove_instead() -> None:
    assert gone(context(parked(), ready=2)) == ()
    assert gone(context(parked(age=1801.0), ready=2)) == (), "a replica on its way would go in its place"
    assert gone(context(parked(age=1801.0), ready=2, live=2)) == ("a",), "one that is lost may"


@pytest.mark.parametrize(
    "given", [{"held": frozenset({Role.PREFILL})}, {"rollout": "it is being rolled out"}, {"frozen": "an HPA"}]
)
def test_nothing_goes_that_must_stay(given: dict[str, Any]) -> None:
    assert gone(context(parked(age=2000.0), **given)) == ()


def test_nothing_goes_while_more_is_wanted() -> None:
    assert gone(context(parked()), wanted=4) == ()


def test_a_queue_takes_all_back() -> None:
    counts, reasons = take_back_parked(context(parked("a"), parked("b"), queued=frozenset({Role.PREFILL})), {P: 3})
    assert counts == {P: 5}
    assert [reason.message for reason in reasons] == [
        "prefill: requests queue, so 2 parked replicas take traffic again"
    ]


def test_no_more_come_back_than_the_variant_may_have() -> None:
    found = context(parked("a"), parked("b"), desired=4, queued=frozenset({Role.PREFILL}))
    assert take_back_parked(found, {P: 4})[0] == {P: 5}


def test_without_a_queue_none_comes_back() -> None:
    assert take_back_parked(context(parked()), {P: 3}) == ({P: 3}, [])
