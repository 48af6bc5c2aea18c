"""The built-in policies: named prices of a missed request."""

from collections.abc import Mapping
from types import MappingProxyType

from forebay.api.v1alpha1.scalingpolicy import Preset

MISS_PRICES: Mapping[Preset, float] = MappingProxyType(
    {Preset.COST_SAVER: 8.0, Preset.BALANCED: 20.0, Preset.LATENCY_FIRST: 60.0}
)
"""Price of one missed request, in units of the replica-seconds that one request costs."""


def preset_named(name: str) -> Preset | None:
    """Return the preset called ``name``, or ``None``."""
    return Preset(name) if name in set(Preset) else None
