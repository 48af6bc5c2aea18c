"""The policy with one part taken out at a time, so that what each part buys can be measured.

Parts that are settings are set; the others are replaced where they live, for as long as the run takes. Nothing of
this exists outside the benchmark.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import PropertyMock, patch

import numpy as np

from forebay.flow.fleet import Role, Slo
from forebay.flow.forecast import DemandForecast
from forebay.flow.settings import PolicySettings
from forebay.forecast import Forecaster
from forebay.sizing.work import FloatArray, ReplicaWork

FAR = 1e9
_asked = Forecaster.forecast


@dataclass(frozen=True, slots=True)
class Lever:
    """One change of the policy."""

    meaning: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    replaced: Mapping[str, Any] = field(default_factory=dict)
    """Dotted name of what is replaced, and by what."""

    def apply(self, settings: PolicySettings) -> PolicySettings:
        """Return ``settings`` with the lever's own."""
        return replace(settings, **self.settings)

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


def _fluid(
    role: Role, rates: FloatArray, replicas: FloatArray, work: ReplicaWork, slo: Slo, burstiness: float
) -> FloatArray:
    """Return the share of requests beyond capacity: nobody ever waits for a replica that is free on average."""
    offered = np.maximum(rates * work.seconds(role), 1e-9)
    return np.clip(1.0 - replicas / offered, 0.0, 1.0) * np.ones(np.broadcast_shapes(rates.shape, replicas.shape))


LEVERS: Mapping[str, Lever] = {
    "default": Lever("the policy as it is"),
    "no-forecast": Lever(
        "the rate of the last minute; what was needed is kept for five minutes", {"forecast_enabled": False}
    ),
    "no-mixture": Lever(
        "the learned forecaster alone: no last value, no recurrence",
        replaced={"forebay.forecast.mixing.PRIOR_SHARE": 0.0, "forebay.forecast.mixing.HANDICAP": FAR},
    ),
    "order-at-maximum": Lever(
        "one target: the maximum up to the horizon is ordered, too",
        replaced={"forebay.forecast.Forecaster.forecast": _changed(lambda f: replace(f, at_horizon=f.maximum))},
    ),
    "no-band": Lever(
        "one target: what the horizon does not need is released (no maximum on the way, hence no band)",
        replaced={"forebay.forecast.Forecaster.forecast": _changed(lambda f: replace(f, maximum=f.at_horizon))},
    ),
    "no-price": Lever(
        "no price and no queue model: the forecast's q90 at 80 % use",
        {"miss_price": 1e-9, "q90_utilisation_limit": 0.8},
    ),
    "no-queue-model": Lever(
        "work beyond capacity misses, nothing else does; the q90 floor stays",
        replaced={"forebay.sizing.curve.miss_share": _fluid},
    ),
    "no-burstiness": Lever(
        "arrivals within a minute are taken for Poisson",
        replaced={"forebay.sizing.rates.Burstiness.value": PropertyMock(return_value=0.0)},
    ),
    "no-budget": Lever("the price of a miss stays as it is", {"budget_gain": 0.0}),
    "no-cap": Lever("forecasts may be as high as they like", {"growth_cap": FAR}),
    "no-q90-floor": Lever("no floor over the forecast's q90", {"q90_utilisation_limit": FAR}),
    "no-lift": Lever(
        "forecasts do not follow the last half-minute",
        replaced={"forebay.pipeline.size.demand._LARGEST_LIFT": 1.0},
    ),
    "no-young-hold": Lever(
        "young forecasters release like old ones",
        replaced={"forebay.pipeline.size.role_draft._YOUNG_FORECASTS": 0},
    ),
}
