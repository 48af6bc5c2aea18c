"""What is remembered of warm nodes between rounds."""

from dataclasses import dataclass, field

_LEAD_TOLERANCE = 0.15


@dataclass(slots=True)
class WarmMemory:
    """Warm nodes that were decided on, and the lead times that this was based on."""

    held: dict[str, int] = field(default_factory=dict)
    """By node pool."""
    _leads: dict[str, float] = field(default_factory=dict)

    def lead(self, node_pool: str, seconds: float) -> float:
        """Return the lead time of a node; while it moves little it is kept, so that no forecaster begins anew."""
        kept = self._leads.get(node_pool)
        if kept is None or abs(seconds - kept) > _LEAD_TOLERANCE * kept:
            self._leads[node_pool] = kept = seconds
        return kept
