"""The policy with one part taken out at a time, so that what each part buys can be measured.

Parts are replaced where they live, for as long as the run takes. Nothing of this exists outside the benchmark.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import PropertyMock, patch

from forebay.flow.forecast import DemandForecast
from forebay.forecast import Forecaster
from forebay.sizing.backlog import BacklogNeed

FAR = 1e9
_asked = Forecaster.forecast


@dataclass(frozen=True, slots=True)
class Lever:
    """One change of the policy."""

    meaning: str
    replaced: Mapping[str, Any] = field(default_factory=dict)
    """Dotted name of what is replaced, and by what."""

    @contextmanager
    def pulled(self) -> Iterator[None]:
        """Replace what the lever replaces until the block ends."""
        with ExitStack() as stack:
            for name, value in self.replaced.items():
                stack.enter_context(patch(name, value))
            yield


def _changed(change: Callable[[DemandForecast], DemandForecast]) -> Callable[..., DemandForecast | None]:
    def forecast(self: Forecaster, **asked: Any) -> DemandForecast | None:
        found = _asked(self, **asked)
        return None if found is None else change(found)

    return forecast


def _no_queue(**asked: Any) -> BacklogNeed:
    return BacklogNeed(None, hold=False, left_seconds=0.0)


LEVERS: Mapping[str, Lever] = {
    "default": Lever("the policy as it is"),
    "no-regret": Lever(
        "replicas move at once when it pays",
        {"forebay.sizing.regret._ORDER_SHARE": 0.0, "forebay.sizing.regret._RELEASE_SHARE": 0.0},
    ),
    "no-bias": Lever(
        "the model's misses are taken as predicted",
        {"forebay.sizing.price._BIAS_RANGE": (1.0, 1.0), "forebay.sizing.price._COLD_BIAS": 1.0},
    ),
    "no-pace": Lever(
        "what was spent so far does not count",
        {"forebay.sizing.price._SAVING": 0.0, "forebay.sizing.price._REPAYING": 0.0},
    ),
    "no-overload": Lever("a queue costs nothing later", {"forebay.sizing.overload.DRAIN_SHARE": FAR}),
    "no-even": Lever(
        "one hour may take the whole budget",
        {"forebay.sizing.regret.EVENNESS": FAR, "forebay.sizing.regret._MOST_UNEVEN": 1.0},
    ),
    "warm-start": Lever(
        "a pool without history is sized like any other", {"forebay.sizing.price._COLD_BIAS": 1.0}
    ),
    "no-backlog": Lever(
        "a standing queue orders and holds nothing", {"forebay.pipeline.size.role_draft.backlog_need": _no_queue}
    ),
    "order-at-maximum": Lever(
        "the highest demand until the lead time is ordered, too",
        {"forebay.forecast.Forecaster.forecast": _changed(lambda f: replace(f, at_horizon=f.maximum))},
    ),
    "release-at-horizon": Lever(
        "what the horizon does not need is released",
        {"forebay.forecast.Forecaster.forecast": _changed(lambda f: replace(f, maximum=f.at_horizon))},
    ),
    "no-burstiness": Lever(
        "arrivals within a minute are taken for Poisson",
        {"forebay.sizing.rates.Burstiness.value": PropertyMock(return_value=0.0)},
    ),
    "alone": Lever(
        "prefill and decode do not wait for each other's orders",
        {"forebay.pipeline.size.pool_draft.ordered_together": lambda drafts, _: dict(drafts)},
    ),
    "no-lift": Lever(
        "forecasts do not follow the last half-minute", {"forebay.pipeline.size.demand._LARGEST_LIFT": 1.0}
    ),
}
