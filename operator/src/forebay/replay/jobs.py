"""What is run in a replay: policies by name, at their defaults or swept over their knob."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from forebay.replay.baselines import Baseline, baselines
from forebay.replay.oracle import oracle
from forebay.replay.outcome import Outcome, course_of
from forebay.replay.recorder import RecordedForebay
from forebay.replay.run import run
from forebay.replay.scenario import Scenario
from forebay.replay.score import score

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
    course: bool = True
    """Keep how it went, for the report."""

    @property
    def label(self) -> str:
        """Return what progress calls it."""
        return self.policy if self.knob is None else f"{self.policy} {self.knob:g}"


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
            raise UnknownPolicyError(f"no policy is named {name!r}; there are all, {', '.join(known)}")
        wanted.extend(meant)
    return tuple(dict.fromkeys(wanted))


def jobs_for(policies: Sequence[str], *, sweep: bool) -> tuple[Job, ...]:
    """Return the runs to make, the longest first; ``sweep`` adds every setting of the baselines' knobs."""
    jobs = [Job(policy=name) for name in sorted(policies, key=lambda name: (name != ORACLE, name != FOREBAY))]
    if sweep:
        for name in policies:
            baseline = baselines().get(name)
            if baseline is None:
                continue
            others = [knob for knob in baseline.knob.sweep if knob != baseline.knob.default]
            jobs += [Job(policy=name, knob=knob, course=False) for knob in others]
    return tuple(jobs)


def run_job(scenario: Scenario, job: Job, progress: Progress | None = None) -> Outcome:
    """Run one job from the start to the end."""
    begun = time.perf_counter()
    if job.policy == ORACLE:
        outcome = _run_oracle(scenario, job, progress)
    elif job.policy == FOREBAY:
        outcome = _run_forebay(scenario, job, progress)
    else:
        outcome = _run_baseline(scenario, job, baselines()[job.policy], progress)
    return replace(outcome, score=replace(outcome.score, wall_seconds=time.perf_counter() - begun))


def _run_oracle(scenario: Scenario, job: Job, progress: Progress | None) -> Outcome:
    found = oracle(scenario, progress=progress)
    return Outcome(
        score=score(scenario, found.run),
        title="Oracle (knows all traffic)",
        hindsight=True,
        course=course_of(scenario, found.run) if job.course else None,
        note=found.statement,
    )


def _run_forebay(scenario: Scenario, job: Job, progress: Progress | None) -> Outcome:
    policy = RecordedForebay(scenario)
    made = run(scenario, policy, name=FOREBAY, progress=progress)
    return Outcome(
        score=score(scenario, made),
        title="Forebay",
        course=course_of(scenario, made, policy.forecasts()) if job.course else None,
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
        default=job.knob is None,
        course=course_of(scenario, made) if job.course else None,
    )
