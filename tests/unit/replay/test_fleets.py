"""Closed loops over two GPU types: who is served, what replaces what, and what happens when a type is sold out."""

from collections.abc import Mapping

import numpy as np

from forebay.flow.fleet import Fleet, NodePool, Pool, PoolKey, Role, VariantKey
from forebay.flow.observation import FleetObservation, NodePoolObservation
from forebay.offline.replay.loop.closed_loop import run
from forebay.offline.replay.loop.policy import Targets
from forebay.offline.replay.loop.scenario import Scenario
from forebay.offline.simulation import StartUp, StockOut
from tests.unit.replay.fleetruns import CHEAP, DEAR, fleet_run, held, model, steady
from tests.unit.replay.scenarios import PERFORMANCE


def test_a_fleet_on_a_dear_type_moves_to_the_cheap_one_at_constant_load() -> None:
    chat = model("chat")
    result = fleet_run([(chat, 30.0)], seconds=1500.0, initial={CHEAP: 0, DEAR: 2}, stock={CHEAP: 20, DEAR: 20})
    dear, cheap = held(result, chat, DEAR), held(result, chat, CHEAP)
    assert dear[0] == 4
    assert dear[-1] == 0
    assert cheap[-1] >= 3
    for role in (Role.PREFILL, Role.DECODE):
        ready = result.timelines[chat.key].ready
        both = ready[VariantKey(role, f"{role}-{CHEAP}")] + ready[VariantKey(role, f"{role}-{DEAR}")]
        assert both.min() >= 1, "never broken before made"
    codes = {reason.code for decision in result.decisions for reason in decision.pools[chat.key].reasons}
    assert "Remix" in codes


def test_nothing_moves_while_the_cheap_type_is_sold_out_and_all_does_when_it_is_back() -> None:
    chat = model("chat")
    back = 1200.0
    result = fleet_run(
        [(chat, 30.0)],
        seconds=3300.0,
        initial={CHEAP: 0, DEAR: 2},
        stock={CHEAP: 20, DEAR: 20},
        stock_outs=(StockOut(node_pool=CHEAP, start_seconds=0.0, end_seconds=back),),
    )
    at = result.timelines[chat.key].at_seconds
    assert held(result, chat, CHEAP)[at <= back].max() == 0
    assert held(result, chat, DEAR)[at <= back].min() >= 2
    assert held(result, chat, DEAR)[-1] == 0


def test_when_gpus_run_out_the_highest_priority_is_served_and_the_lowest_yields() -> None:
    models = [model("first", priority=2), model("second", priority=1), model("third")]
    result = fleet_run(
        [(one, 45.0) for one in models], seconds=960.0, initial={CHEAP: 1, DEAR: 0}, stock={CHEAP: 8, DEAR: 2}
    )
    supplies = [held(result, one, CHEAP)[-8:].mean() + held(result, one, DEAR)[-8:].mean() for one in models]
    assert supplies[0] >= 5, "as many as it would have alone"
    assert supplies[1] > supplies[2], "though the third has a queue as well"
    unserved = [float(np.isnan(result.results[one.key].done_seconds).mean()) for one in models]
    assert unserved[0] < 0.02
    assert unserved[1] < unserved[2]


def test_a_type_that_is_sold_out_is_replaced_by_the_next() -> None:
    chat = model("chat")
    result = fleet_run(
        [(chat, 60.0)],
        seconds=1200.0,
        initial={CHEAP: 1, DEAR: 0},
        stock={CHEAP: 20, DEAR: 20},
        stock_outs=(StockOut(node_pool=CHEAP, start_seconds=1.0, end_seconds=1e9),),
    )
    assert held(result, chat, CHEAP).max() == 2
    assert held(result, chat, DEAR)[-1] >= 1


class _Watcher:
    """Wants nothing and remembers the node pools that it saw."""

    interval_seconds = 15.0

    def __init__(self) -> None:
        self.seen: list[tuple[float, NodePoolObservation]] = []

    def tick(self, seen: FleetObservation) -> Mapping[PoolKey, Targets]:
        self.seen.append((seen.at_seconds, seen.node_pools[CHEAP]))
        return {}


def _watched(chat: Pool, out: StockOut) -> list[tuple[float, NodePoolObservation]]:
    watcher = _Watcher()
    scenario = Scenario(
        name="watched",
        fleet=Fleet(
            pools={chat.key: chat},
            node_pools={CHEAP: NodePool(name=CHEAP, accelerator=CHEAP, gpus_per_node=2, max_nodes=5)},
        ),
        traces={chat.key: steady(5.0, 120.0)},
        performance={chat.key: {v.key: PERFORMANCE for v in chat.variants}},
        start_up={chat.key: {v.key: StartUp.fixed(60.0) for v in chat.variants}},
        initial={chat.key: {v.key: 2 if v.node_pool == CHEAP else 0 for v in chat.variants}},
        stock_outs=(out,),
    )
    run(scenario, watcher, name="watcher")
    return watcher.seen


def test_a_stock_out_shows_no_free_gpus_and_nobody_says_when_it_ends() -> None:
    seen = _watched(model("chat"), StockOut(node_pool=CHEAP, start_seconds=30.0, end_seconds=60.0))
    free = {at: node_pool.free_gpus for at, node_pool in seen}
    assert free == {15.0: 6, 30.0: 0, 45.0: 0, 60.0: 6, 75.0: 6, 90.0: 6, 105.0: 6}
    assert {node_pool.blocked_until_seconds for _, node_pool in seen} == {None}
    for _, node_pool in seen:
        assert node_pool.usable_gpus == 2 * node_pool.nodes, "what is free stands on nodes that are there"
