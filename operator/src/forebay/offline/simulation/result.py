"""Results of a run: latencies per request, replica-seconds per variant, actions."""

from collections.abc import Mapping
from dataclasses import dataclass

from forebay.flow.fleet import Slo, VariantKey
from forebay.flow.trace import FloatArray, RequestTrace


@dataclass(frozen=True, slots=True)
class ScaleAction:
    """A change of a variant's replica count."""

    at_seconds: float
    variant: VariantKey
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulationResult:
    """The end of a run. Arrays have one entry per request of the trace, NaN where it was not (yet) served."""

    trace: RequestTrace
    until_seconds: float
    ttft_seconds: FloatArray
    itl_seconds: FloatArray
    """Mean over the request's output tokens; waiting for a decode slot counts, the KV transfer does not."""
    done_seconds: FloatArray
    """When the last token was out."""
    replica_seconds: Mapping[VariantKey, float]
    """Billed per variant: from the start of the pod until it was empty and gone, and at least for its start-up."""
    actions: tuple[ScaleAction, ...]
    orders: int = 0
    """Replicas ordered after the start."""
    cancelled_orders: int = 0
    """Of these, those taken back before they were ready."""
    timed_out: int = 0
    rejected: int = 0
    evictions: int = 0
    failures: int = 0
    cut_off: int = 0
    """Requests that started again because their replica's termination grace period was over."""
    taken_back: int = 0
    """Parked replicas that were returned to traffic."""

    def attained(self, slo: Slo, *, until_seconds: float | None = None) -> float:
        """Return the share of requests, of those that arrived before ``until_seconds``, that met ``slo``.

        A request that was not served missed it. NaN without requests.
        """
        count = len(self.trace)
        if until_seconds is not None:
            count = int(self.trace.arrival_seconds.searchsorted(until_seconds))
        if count == 0:
            return float("nan")
        met = (self.ttft_seconds[:count] <= slo.ttft_seconds) & (self.itl_seconds[:count] <= slo.itl_seconds)
        return float(met.mean())

    @property
    def unserved(self) -> int:
        """Return how many requests never had their last token, rejected and timed-out ones included."""
        return int((self.done_seconds != self.done_seconds).sum())
