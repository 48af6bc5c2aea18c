"""Engines that behave: simulated inference engines for the Ready pods of a test cluster, with real metrics.

    python -m enginesim --help

`Simulator` holds the pools, `MetricsServer` serves them, `Runner` keeps them in step with clock and cluster. The
physics is `forebay.offline.simulation`. The names of metrics are data: one file per dialect in `tables/`.
"""
