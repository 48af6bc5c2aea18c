"""What people scale inference with today, each faithful to its documented algorithm and defaults.

Every baseline is given a perfect profile of its replicas and the same initial fleet, so that a comparison shows
the rule and not its calibration. `baselines` finds them; a new one is one new file beside this.
"""

from forebay.offline.replay.baselines.registry import (
    Baseline,
    Knob,
    PoolFacts,
    baseline_named,
    baselines,
    facts_of,
)

__all__ = ["Baseline", "Knob", "PoolFacts", "baseline_named", "baselines", "facts_of"]
