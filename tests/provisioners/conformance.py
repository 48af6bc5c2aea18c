"""The scenario of a journey in the simulator: the same resources, traffic and stock-out, the same decisions?"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from forebay.flow.trace import RequestTrace
from forebay.offline.replay.inputs.build import build_scenario
from forebay.offline.replay.inputs.nodes import NodeOptions
from forebay.offline.replay.inputs.resource_files import load_fleet
from forebay.offline.replay.loop.closed_loop import run
from forebay.offline.replay.loop.policy import Forebay
from forebay.offline.replay.loop.scenario import first_part
from forebay.offline.simulation import SimulationOptions, StockOut

RESOURCES = (
    "gpunodepools.forebay.io,inferencepools.forebay.io,scalingpolicies.forebay.io,servingprofiles.forebay.io"
)
"""What a journey is made of, for ``kubectl get``."""


def simulated_replicas(
    resources: str,
    trace: RequestTrace,
    directory: Path,
    *,
    sold_out: Iterable[str],
    node_seconds: float,
    at: float,
) -> dict[str, int]:
    """Return what Forebay asks for by variant, at a time of the trace, with nodes that the simulator plays.

    Args:
        resources: of the journey, as ``kubectl get -o yaml`` prints them.
        trace: the traffic.
        directory: for files.
        sold_out: node pools that bring no further node.
        node_seconds: what a node takes.
        at: seconds from the start of the trace.
    """
    path = directory / "resources.yaml"
    path.write_text(resources)
    loaded = load_fleet([path], span_seconds=trace.span_seconds)
    (key,) = loaded.fleet.pools
    scenario = build_scenario(
        loaded.fleet,
        {key: trace},
        name="journey",
        options=SimulationOptions(),
        nodes=NodeOptions(lead_seconds=node_seconds),
    )
    first, *others = loaded.fleet.pools[key].variants
    scenario = replace(
        first_part(scenario, at / trace.span_seconds),
        initial={key: {first.key: 1, **{variant.key: 0 for variant in others}}},
        stock_outs=tuple(StockOut(node_pool=name, start_seconds=0.0, end_seconds=1e9) for name in sold_out),
    )
    made = run(scenario, Forebay(scenario.fleet), name="forebay")
    desired = made.timelines[key].desired
    return {variant.name: int(desired[variant.key][-2]) for variant in (first, *others)}
