"""The physics of a serving fleet: prefill queues, decode batches, cold starts, failures."""

from forebay.simulation.options import (
    Phase,
    QueueOrder,
    SimulationOptions,
    SpotReclaims,
    StartUp,
    StockOut,
)
from forebay.simulation.pool import SimulatedPool
from forebay.simulation.result import ScaleAction, SimulationResult
from forebay.simulation.supply import GpuSupply

__all__ = [
    "GpuSupply",
    "Phase",
    "QueueOrder",
    "ScaleAction",
    "SimulatedPool",
    "SimulationOptions",
    "SimulationResult",
    "SpotReclaims",
    "StartUp",
    "StockOut",
]
