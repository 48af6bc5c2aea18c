"""Engines that behave: simulated inference engines for the Ready pods of a test cluster, with real metrics.

    python -m enginesim --help

`Simulator` holds the pools, `MetricsServer` serves them, `Runner` keeps them in step with clock and cluster. The
physics is `forebay.simulation`; what each engine calls its metrics is data, one file per dialect in `tables/`.
"""

from enginesim.config import Config, load_config, parse_config
from enginesim.errors import EngineSimError
from enginesim.faults import Fault, FaultMode
from enginesim.pods import Pod, PodLister
from enginesim.runner import Runner
from enginesim.server import MetricsServer
from enginesim.simulator import Simulator

__all__ = [
    "Config",
    "EngineSimError",
    "Fault",
    "FaultMode",
    "MetricsServer",
    "Pod",
    "PodLister",
    "Runner",
    "Simulator",
    "load_config",
    "parse_config",
]
