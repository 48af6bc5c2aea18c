"""The result of a replay in one sentence: win, tie or loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from forebay.offline.replay.jobs.job import FOREBAY
from forebay.offline.replay.jobs.outcome import Outcome, RunKind

TIE_SHARE = 0.01
"""Costs within one percent of each other are a tie."""


class Result(StrEnum):
    """How Forebay did against the policies that could be run (not those of hindsight), at their defaults."""

    WIN = "win"
    TIE = "tie"
    LOSS = "loss"
    UNDECIDED = "undecided"
    """Nobody met the target, or there was nobody to compare with."""


@dataclass(frozen=True, slots=True)
class ReplayVerdict:
    """The result and its sentence."""

    result: Result
    sentence: str


def verdict(outcomes: Sequence[Outcome], *, target: float | None) -> ReplayVerdict:
    """Return the verdict over ``outcomes``.

    Args:
        outcomes: of one replay.
        target: the attainment that the SLO asks for; ``None``: pools differ in it.
    """
    own = next((o for o in outcomes if o.score.name == FOREBAY and o.default), None)
    rivals = [o for o in outcomes if o.default and not o.hindsight and o.score.name != FOREBAY]
    able = sorted((o for o in rivals if o.score.meets_target), key=lambda o: o.score.cost_usd)
    goal = _goal(target)
    if not any(outcome.default for outcome in outcomes):
        return ReplayVerdict(Result.UNDECIDED, "No policy was run to its end.")
    if own is None:
        return ReplayVerdict(Result.UNDECIDED, _without_forebay(able, goal))
    if not rivals:
        return ReplayVerdict(Result.UNDECIDED, _alone(own, goal))
    if own.score.meets_target:
        return _met(own, rivals, able, goal)
    if able:
        first = able[0].score
        sentence = (
            f"Forebay does not meet {goal} ({_of(own)}); {_count(len(able), len(rivals))}, the "
            f"cheapest ({first.name}) at {usd(first.cost_usd)}."
        )
        return ReplayVerdict(Result.LOSS, sentence)
    return ReplayVerdict(Result.UNDECIDED, _nobody(own, rivals, goal))


def _met(own: Outcome, rivals: Sequence[Outcome], able: Sequence[Outcome], goal: str) -> ReplayVerdict:
    cost = own.score.cost_usd
    met = f"Forebay meets {goal} for {usd(cost)}"
    if not able:
        return ReplayVerdict(Result.WIN, f"{met}; {_none_of(len(rivals))} at the documented defaults.")
    rival = able[0].score
    among = f"{_count(len(able), len(rivals))} at the documented defaults"
    difference = cost / rival.cost_usd - 1.0 if rival.cost_usd > 0 else 0.0
    if abs(difference) < TIE_SHARE:
        sentence = f"{met}, within 1 % of the cheapest other policy that meets it ({rival.name}); {among}."
        return ReplayVerdict(Result.TIE, sentence)
    word = "less" if difference < 0 else "more"
    sentence = (
        f"{met}, {100 * abs(difference):.0f} % {word} than the cheapest other policy that meets it "
        f"({rival.name}, {usd(rival.cost_usd)}); {among}."
    )
    return ReplayVerdict(Result.WIN if difference < 0 else Result.LOSS, sentence)


def _nobody(own: Outcome, rivals: Sequence[Outcome], goal: str) -> str:
    best = max(rivals, key=lambda o: o.score.slo_attainment)
    return (
        f"No policy meets {goal}: Forebay comes to {_of(own)}, the best of the others "
        f"({best.score.name}) to {_of(best)}."
    )


def _without_forebay(able: Sequence[Outcome], goal: str) -> str:
    if not able:
        return f"No policy meets {goal}; Forebay was not among them."
    first = able[0].score
    return (
        f"The cheapest policy that meets {goal} is {first.name} ({usd(first.cost_usd)}); "
        "Forebay was not among them."
    )


def _alone(own: Outcome, goal: str) -> str:
    word = "meets" if own.score.meets_target else "does not meet"
    return (
        f"Forebay {word} {goal} ({_of(own)}); no policy was run beside it that could be run without "
        "knowing the traffic."
    )


def _of(outcome: Outcome) -> str:
    return f"{_percent(outcome.score.slo_attainment)} for {usd(outcome.score.cost_usd)}"


def _count(able: int, rivals: int) -> str:
    if rivals == 1:
        return "the other policy meets it"
    return f"{able} of {rivals} others {'meets' if able == 1 else 'meet'} it"


def _none_of(rivals: int) -> str:
    return f"none of the {rivals} others does" if rivals > 1 else "the other policy does not"


def _goal(target: float | None) -> str:
    return "the target of every pool" if target is None else f"the {_percent(target)} target"


def _percent(share: float) -> str:
    """Return a share so that one below the target never looks like one at it."""
    text = f"{int(share * 10_000) / 100:.2f}".rstrip("0").rstrip(".")
    return f"{text} %"


def usd(amount: float) -> str:
    """Return dollars with as many digits as matter."""
    return f"${amount:,.0f}" if amount >= 1000 else f"${amount:,.2f}"


def remarks(outcomes: Sequence[Outcome], *, target: float | None) -> tuple[str, ...]:
    """Return further sentences: the oracle, and what the others could do when tuned in hindsight."""
    own = next((o for o in outcomes if o.score.name == FOREBAY and o.default), None)
    said = []
    oracle = next((o for o in outcomes if o.score.name == "oracle"), None)
    if own is not None and oracle is not None and oracle.score.meets_target and oracle.score.cost_usd > 0:
        ratio = own.score.cost_usd / oracle.score.cost_usd
        said.append(
            f"A fleet that knew all traffic beforehand would have cost {usd(oracle.score.cost_usd)}; Forebay cost "
            f"{ratio:.2f} times that."
        )
    other = next((o for o in outcomes if o.kind is RunKind.OTHER_ORDER), None)
    if own is not None and other is not None:
        said.append(_reordered(own, other))
    tuned = [o for o in outcomes if o.kind is RunKind.SWEPT and not o.hindsight and o.score.meets_target]
    if tuned:
        said.append(_tuned(min(tuned, key=lambda o: o.score.cost_usd), own, _goal(target)))
    return tuple(said)


def _reordered(own: Outcome, other: Outcome) -> str:
    here, there = own.score, other.score
    less = here.cost_usd - there.cost_usd
    if abs(less) < TIE_SHARE * here.cost_usd and abs(there.slo_attainment - here.slo_attainment) < 1e-3:
        return "The router's other queue order would change neither cost nor attainment by much."
    return f"Under the router's other queue order Forebay comes to {_of(other)}, instead of {_of(own)}."


def _tuned(best: Outcome, own: Outcome | None, goal: str) -> str:
    setting = f"{best.score.name} at {best.knob_name} {best.score.knob:g}"
    sentence = f"Tuned in hindsight on this very trace, {setting} meets {goal} for {usd(best.score.cost_usd)}"
    if own is None or not own.score.meets_target:
        return sentence + "."
    difference = own.score.cost_usd / best.score.cost_usd - 1.0
    if abs(difference) < TIE_SHARE:
        return sentence + ", a tie with Forebay."
    word = "less" if difference < 0 else "more"
    return sentence + f"; Forebay cost {100 * abs(difference):.0f} % {word}, untuned."
