"""Seasonal naive: what traffic did a period ago, with a head start, or what it does now if that is more.

Grafana Mimir's KEDA trigger (https://github.com/grafana/mimir/pull/7775): the value of one week minus half an hour
ago, beside the reactive trigger; the higher wins. A week where the history reaches that far, else a day; without
either it is reactive alone. Sized as KEDA sizes, by requests per second at a share of capacity.
"""

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.offline.replay.baselines.common.hpa_rules import SYNC_SECONDS, HpaRules, from_total
from forebay.offline.replay.baselines.common.role_by_role import per_role
from forebay.offline.replay.baselines.common.signals import Arrivals, RoleSignals
from forebay.offline.replay.baselines.registry import Baseline, Knob

HEAD_START_SECONDS = 1800.0
_MINUTE_SECONDS = 60.0
_WEEK_MINUTES, _DAY_MINUTES = 7 * 1440, 1440
_SMOOTH_MINUTES = 5


class Seasonal:
    """One workload: the higher of the last minute and the same time a period ago, half an hour ahead."""

    def __init__(self, utilisation: float, history: FloatArray | None) -> None:
        self._utilisation = utilisation
        self._minutes = [] if history is None else [float(count) / _MINUTE_SECONDS for count in history]
        self._before = len(self._minutes)
        self._rules: HpaRules | None = None

    def tick(self, seen: RoleSignals, arrivals: Arrivals) -> float:
        """Return the replicas wanted."""
        if self._rules is None:
            self._rules = HpaRules(max(1, round(seen.desired)))
        now = arrivals.per_second(_MINUTE_SECONDS)
        while len(self._minutes) - self._before < int(seen.at_seconds // _MINUTE_SECONDS):
            self._minutes.append(now)
        rate = max(now, self.a_period_ago(seen.at_seconds))
        total = rate * seen.workload.seconds_per_request
        recommended = from_total(replicas=self._rules.replicas, total=total, per_replica=self._utilisation)
        return self._rules.apply(seen.at_seconds, recommended)

    def a_period_ago(self, at_seconds: float) -> float:
        """Return the rate of a period minus the head start ago, or 0 where nothing is known."""
        now = self._before + int(at_seconds // _MINUTE_SECONDS)
        ahead = int(HEAD_START_SECONDS // _MINUTE_SECONDS)
        for period in (_WEEK_MINUTES, _DAY_MINUTES):
            then = now - period + ahead
            if then >= 0:
                return float(np.mean(self._minutes[max(0, then - _SMOOTH_MINUTES) : then + 1]))
        return 0.0


BASELINES = (
    Baseline(
        name="seasonal-naive",
        title="Seasonal naive (Mimir's KEDA trigger)",
        source="https://github.com/grafana/mimir/pull/7775",
        knob=Knob(
            name="utilisation per replica",
            default=0.8,
            sweep=(0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.2),
        ),
        make=per_role(
            lambda facts, _, utilisation: Seasonal(utilisation, facts.history_requests_per_minute), SYNC_SECONDS
        ),
    ),
)
