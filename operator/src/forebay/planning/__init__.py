"""Plan: the cheapest mix of GPU types for the whole fleet, within stock, budget and power."""

from forebay.planning.solve import solve

__all__ = ["solve"]
