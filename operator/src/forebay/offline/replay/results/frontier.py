"""Settings of a knob compared: which are worth having, and which one would have been chosen beforehand.

The cheapest setting that meets the target is chosen in hindsight, on the very traffic that it is judged by; nobody
can do that. A user can choose a setting on the traffic so far and keep it: `transferred` says what that comes to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forebay.offline.replay.baselines import baseline_named
from forebay.offline.replay.loop.score import PolicyScore


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """One setting of one policy."""

    policy: str
    knob: float
    cost_usd: float
    slo_attainment: float
    meets_target: bool
    on_frontier: bool
    """No other setting of this policy is as cheap and as good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A setting chosen on the first part of the traffic and kept for all of it."""

    policy: str
    knob: float | None
    """``None``: no setting met the target on the first part."""
    score: PolicyScore | None
    """Over the whole traffic."""


def frontier(scores: Iterable[PolicyScore]) -> tuple[FrontierPoint, ...]:
    """Return all points, by policy and cost, and which of them no other setting of their policy beats."""
    by_policy: dict[str, list[PolicyScore]] = {}
    for entry in scores:
        by_policy.setdefault(entry.name, []).append(entry)
    points: list[FrontierPoint] = []
    for name, entries in by_policy.items():
        best = -1.0
        for entry in sorted(entries, key=lambda e: (e.cost_usd, -e.slo_attainment)):
            points.append(
                FrontierPoint(
                    policy=name,
                    knob=float("nan") if entry.knob is None else entry.knob,
                    cost_usd=entry.cost_usd,
                    slo_attainment=entry.slo_attainment,
                    meets_target=entry.meets_target,
                    on_frontier=entry.slo_attainment > best,
                )
            )
            best = max(best, entry.slo_attainment)
    return tuple(points)


def best_in_hindsight(scores: Iterable[PolicyScore]) -> dict[str, PolicyScore]:
    """Return per policy the cheapest score that meets the target; policies of which none does are left out."""
    best: dict[str, PolicyScore] = {}
    for entry in scores:
        if entry.meets_target and (entry.name not in best or entry.cost_usd < best[entry.name].cost_usd):
            best[entry.name] = entry
    return best


def transferred(whole: Sequence[PolicyScore], early: Iterable[PolicyScore]) -> dict[str, Transfer]:
    """Return per policy the setting that was cheapest on the first part, with what it came to over the whole.

    Policies of hindsight are left out: they know the rest already.

    Args:
        whole: scores of a sweep over the whole traffic.
        early: scores of the same sweep over `first_part`.
    """
    chosen = best_in_hindsight(early)
    by_setting = {(entry.name, entry.knob): entry for entry in whole}
    return {
        name: Transfer(
            policy=name,
            knob=chosen[name].knob if name in chosen else None,
            score=by_setting.get((name, chosen[name].knob)) if name in chosen else None,
        )
        for name in dict.fromkeys(entry.name for entry in whole)
        if not baseline_named(name).hindsight
    }
