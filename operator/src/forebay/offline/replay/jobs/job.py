"""What is run in a replay: policies by name, at their defaults or swept over their knob."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from forebay.offline.replay.baselines import Baseline, baselines
from forebay.offline.replay.jobs.outcome import Outcome, RunKind, course_of
from forebay.offline.replay.loop.closed_loop import run
from forebay.offline.replay.loop.recorder import RecordedForebay
from forebay.offline.replay.loop.scenario import Scenario, first_part
from forebay.offline.replay.loop.score import score
from forebay.offline.replay.oracle import oracle
from forebay.offline.simulation import QueueOrder

FOREBAY = "forebay"
ORACLE = "oracle"
ALL = "all"
Progress = Callable[[float], None]


class UnknownPolicyError(ValueError):
    """No policy has that name; the message lists those that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One policy at one setting of its knob."""

    policy: str
    knob: float | None = None
    """``None``: its default."""
    kind: RunKind = RunKind.DEFAULT

    @property
    def label(self) -> str:
        """Return what progress calls it."""
        knob = "" if self.knob is None else f" {self.knob:g}"
        kind = f" ({self.kind.value})" if self.kind in (RunKind.EARLY, RunKind.OTHER_ORDER) else ""
        return self.policy + knob + kind


def known_policies() -> tuple[str, ...]:
    """Return every policy's name."""
    return (FOREBAY, ORACLE, *baselines())


def policies_named(names: Sequence[str]) -> tuple[str, ...]:
    """Return the policies that ``names`` mean: exact names, ``all``, or a product (``keda``: all its recipes).

    Raises:
        UnknownPolicyError: a name means none.
    """
    known = known_policies()
    wanted: list[str] = []
    for name in names:
        if name == ALL:
            wanted.extend(known)
            continue
        meant = [name] if name in known else [other for other in known if other.startswith(f"{name}-")]
        if not meant:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}? There" if close else "there"
            raise UnknownPolicyError(f"no policy is named {name!r}; {hint} are all, {', '.join(known)}")
        wanted.extend(meant)
    if not wanted:
        raise UnknownPolicyError("--policies is empty; name at least one policy, or leave it out for all")
    return tuple(dict.fromkeys(wanted))


def jobs_for(policies: Sequence[str], *, sweep: bool, other_order: bool = False) -> tuple[Job, ...]:
    """Return the runs to make, the longest first.

    Args:
        policies: names.
        sweep: add every setting of the baselines' knobs, over all the traffic and over its first third.
        other_order: add Forebay under the other queue order.
    """
    jobs = [Job(policy=name) for name in sorted(policies, key=lambda name: (name != ORACLE, name != FOREBAY))]
    if other_order and FOREBAY in policies:
        jobs.append(Job(policy=FOREBAY, kind=RunKind.OTHER_ORDER))
    if sweep:
        jobs += [job for name in policies if name in baselines() for job in _swept(baselines()[name])]
    return tuple(jobs)


def _swept(baseline: Baseline) -> list[Job]:
    knob = baseline.knob
    others = [value for value in knob.sweep if value != knob.default]
    jobs = [Job(policy=baseline.name, knob=value, kind=RunKind.SWEPT) for value in others]
    if not baseline.hindsight:
        jobs += [Job(policy=baseline.name, knob=value, kind=RunKind.EARLY) for value in (knob.default, *others)]
    return jobs


def run_job(scenario: Scenario, job: Job, progress: Progress | None = None) -> Outcome:
    """Run one job from the start to the end."""
    begun = time.perf_counter()
    scenario = _varied(scenario, job.kind)
    if job.policy == ORACLE:
        outcome = _run_oracle(scenario, progress)
    elif job.policy == FOREBAY:
        outcome = _run_forebay(scenario, job, progress)
    else:
        outcome = _run_baseline(scenario, job, baselines()[job.policy], progress)
    return replace(outcome, kind=job.kind, score=replace(outcome.score, wall_seconds=time.perf_counter() - begun))


def _varied(scenario: Scenario, kind: RunKind) -> Scenario:
    if kind is RunKind.EARLY:
        return first_part(scenario)
    if kind is RunKind.OTHER_ORDER:
        return replace(scenario, options=replace(scenario.options, queue_order=other_order(scenario.queue_order)))
    return scenario


def other_order(order: QueueOrder) -> QueueOrder:
    """Return the queue order that ``order`` is not."""
    return QueueOrder.LATE_LAST if order is QueueOrder.FIFO else QueueOrder.FIFO


def _run_oracle(scenario: Scenario, progress: Progress | None) -> Outcome:
    found = oracle(scenario, progress=progress)
    return Outcome(
        score=score(scenario, found.run),
        title="Oracle (knows all traffic)",
        hindsight=True,
        course=course_of(scenario, found.run),
        note=found.statement,
    )


def _run_forebay(scenario: Scenario, job: Job, progress: Progress | None) -> Outcome:
    policy = RecordedForebay(scenario)
    made = run(scenario, policy, name=FOREBAY, progress=progress)
    return Outcome(
        score=score(scenario, made),
        title="Forebay",
        course=course_of(scenario, made, policy.forecasts()) if job.kind is RunKind.DEFAULT else None,
    )


def _run_baseline(scenario: Scenario, job: Job, baseline: Baseline, progress: Progress | None) -> Outcome:
    knob = baseline.knob.default if job.knob is None else job.knob
    made = run(scenario, baseline.policy(scenario, knob), name=baseline.name, knob=knob, progress=progress)
    return Outcome(
        score=score(scenario, made),
        title=baseline.title,
        source=baseline.source,
        knob_name=baseline.knob.name,
        hindsight=baseline.hindsight,
        course=course_of(scenario, made) if job.kind is RunKind.DEFAULT else None,
    )
