"""The series of one scraped target (a pod or a gateway): counters, gauges and histograms by what they mean.

The simulator writes quantities (`running`, `ttft_seconds`, ...); a `Table` says which metrics they become.
Quantities that a table does not use are dropped, and metrics whose quantity was never written are 0, or absent
where the table calls them lazy.
"""

import numpy as np
import numpy.typing as npt

from enginesim.errors import EngineSimError
from enginesim.tables import Metric, Table, load_table

FloatArray = npt.NDArray[np.float64]

GAUGES = frozenset(
    (
        "running",
        "waiting",
        "queued",
        "sending",
        "receiving",
        "kv_usage",
        "kv_tokens",
        "kv_capacity",
        "kv_blocks_32",
        "block_32",
        "used_blocks_32",
        "cache_hit_rate",
        "in_flight",
        "in_service",
        "before_first_token",
        "held",
        "mean_queue",
        "ready_pods",
        "zero",
        "one",
    )
)
COUNTERS = frozenset(
    (
        "arrived",
        "dispatched",
        "started",
        "counted_twice",
        "finished",
        "aborted",
        "failed",
        "prompt_tokens",
        "cached_tokens",
        "output_tokens",
        "zero",
    )
)
OBSERVATIONS = frozenset(
    (
        "ttft_seconds",
        "ttft_at_the_end_seconds",
        "token_itl_seconds",
        "request_itl_seconds",
        "e2e_seconds",
        "queue_seconds",
        "prefill_seconds",
        "claimed_prefill_seconds",
        "decode_seconds",
        "inference_seconds",
        "normalised_seconds",
        "prompt_length",
        "uncached_length",
        "claimed_length",
        "arrived_length",
        "cached_length",
        "output_length",
    )
)
_KNOWN = {"gauge": GAUGES, "counter": COUNTERS, "histogram": OBSERVATIONS}


class Histogram:
    """Counts per bucket, and the sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = np.asarray(bounds, dtype=np.float64)
        self.counts: FloatArray = np.zeros(len(bounds) + 1)
        self.total = 0.0

    def observe(self, values: FloatArray, weights: FloatArray | None) -> None:
        """Add observations; a value equal to a bound belongs to that bound's bucket (`le`)."""
        index = np.searchsorted(self.bounds, values, side="left")
        self.counts += np.bincount(index, weights=weights, minlength=len(self.counts))
        self.total += float(values.sum() if weights is None else (values * weights).sum())


class Target:
    """Everything that one target's ``/metrics`` shows."""

    def __init__(self, table: Table, names: dict[str, str]) -> None:
        """Prepare the series of ``table``; ``names`` fills the placeholders of its labels."""
        self.table = table
        self.names = names
        self.values: dict[str, float] = {"zero": 0.0, "one": 1.0}
        self.touched: set[str] = set()
        self._totals: dict[str, float] = {}
        self.metrics = tuple(_with_included(table))
        self.histograms: dict[int, Histogram] = {}
        self._by_quantity: dict[str, list[Histogram]] = {}
        for index, (owner, metric) in enumerate(self.metrics):
            _check(owner, metric)
            if metric.type == "histogram":
                histogram = Histogram(owner.bounds(metric))
                self.histograms[index] = histogram
                self._by_quantity.setdefault(metric.value, []).append(histogram)

    def set(self, quantity: str, value: float) -> None:
        """Set a gauge."""
        self.values[quantity] = value
        if value:
            self.touched.add(quantity)

    def add(self, quantity: str, amount: float) -> None:
        """Raise a counter."""
        if amount > 0:
            self.values[quantity] = self.values.get(quantity, 0.0) + amount
            self.touched.add(quantity)

    def follow(self, quantity: str, total: float) -> float:
        """Raise a counter by what ``total`` grew beyond the largest seen, and return by how much.

        A counter that was reset goes on from zero.
        """
        grown = max(0.0, total - self._totals.get(quantity, 0.0))
        self._totals[quantity] = self._totals.get(quantity, 0.0) + grown
        self.add(quantity, grown)
        return grown

    def observe(self, quantity: str, values: FloatArray, weights: FloatArray | None = None) -> None:
        """Add observations to every histogram of ``quantity``."""
        if not len(values):
            return
        self.touched.add(quantity)
        for histogram in self._by_quantity.get(quantity, ()):
            histogram.observe(values, weights)

    def reset(self) -> None:
        """Start counters and histograms from zero, as an engine that restarts in its pod does."""
        self.touched.clear()
        for quantity in COUNTERS - {"zero"}:
            self.values.pop(quantity, None)
        for histogram in self.histograms.values():
            histogram.counts[:] = 0.0
            histogram.total = 0.0


def _with_included(table: Table) -> list[tuple[Table, Metric]]:
    own = [(table, metric) for metric in table.metrics]
    return own if table.include is None else own + _with_included(load_table(table.include))


def _check(table: Table, metric: Metric) -> None:
    if metric.value not in _KNOWN[metric.type]:
        known = ", ".join(sorted(_KNOWN[metric.type]))
        raise EngineSimError(
            f"table {table.name}: {metric.name} asks for {metric.value!r}; a {metric.type} is of {known}"
        )
