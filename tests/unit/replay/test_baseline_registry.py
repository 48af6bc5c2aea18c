"""Every baseline is declared in full and runs."""

from dataclasses import replace

import pytest

from forebay.flow.fleet import Role
from forebay.offline.replay.baselines import Baseline, baseline_named, baselines
from forebay.offline.replay.loop.closed_loop import run
from forebay.offline.replay.loop.policy import PoolPolicy
from forebay.offline.replay.loop.score import score
from tests.keys import serve
from tests.unit.replay.scenarios import KEY, scenario, trace, variant

A, B = serve("a"), serve("b")

EXPECTED = {
    "aibrix-apa", "aibrix-kpa", "dynamo-load", "dynamo-sla", "dynamo-throughput", "heteroscale", "hpa",
    "hpa-combined", "hpa-fresh", "hpa-queue", "keda-rate", "keda-token-backlog", "keda-token-velocity",
    "knative-concurrency", "knative-rps", "learned", "reactive", "seasonal-naive", "static-peak",
}  # fmt: skip


def test_all_are_found() -> None:
    assert set(baselines()) == EXPECTED


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"no policy is named 'hpaa'; there are .*hpa, hpa-fresh, hpa-queue, hpa-combined"
    ):
        baseline_named("hpaa")


@pytest.mark.parametrize("baseline", baselines().values(), ids=list(baselines()))
def test_declaration_and_run(baseline: Baseline) -> None:
    assert baseline.source.startswith(("https://", "no product"))
    assert baseline.knob.default in baseline.knob.sweep
    made = scenario(trace(420.0, 12.0))
    finished = run(made, baseline.policy(made), name=baseline.name)
    limits = {v.key: v for v in made.fleet.pools[KEY].variants}
    for key, counts in finished.timelines[KEY].desired.items():
        assert counts.min() >= limits[key].min_replicas
        assert counts.max() <= limits[key].max_replicas
    assert score(made, finished).cost_usd > 0.0


def test_roles_that_serve_both_phases_and_two_gpu_types() -> None:
    variants = (variant(Role.SERVE, "a", most=3), variant(Role.SERVE, "b", most=9, usd=2.0))
    made = scenario(trace(300.0, 12.0), variants=variants)
    for name in ("hpa", "heteroscale", "dynamo-load", "keda-token-velocity", "knative-concurrency", "static-peak"):
        finished = run(made, baseline_named(name).policy(made), name=name)
        assert set(finished.timelines[KEY].desired) == {A, B}


def test_gpu_types_that_cost_nearly_the_same_are_not_chosen_again_with_every_change_of_lengths() -> None:
    variants = (variant(Role.SERVE, "a", most=9), variant(Role.SERVE, "b", most=9, usd=1.01))
    swapped = replace(
        scenario(trace(300.0, 12.0), variants=variants), fill_order={KEY: (B, A)}, initial={KEY: {B: 3}}
    )
    finished = run(swapped, baseline_named("reactive").policy(swapped), name="reactive")
    assert finished.timelines[KEY].desired[A].max() == 1  # its minimum


def test_only_hindsight_is_given_the_future() -> None:
    made = scenario()
    seen: dict[bool, PoolPolicy] = {}
    for hindsight in (False, True):
        probe = Baseline(
            name="probe",
            title="probe",
            source="https://example.org",
            knob=baseline_named("hpa").knob,
            make=lambda facts, knob: seen.setdefault(
                facts.future is None, baseline_named("hpa").make(facts, knob)
            ),
            hindsight=hindsight,
        )
        probe.policy(made)
    assert set(seen) == {True, False}


def test_a_richer_knob_costs_more() -> None:
    made = scenario(trace(600.0, 15.0))
    for name in ("reactive", "hpa", "knative-rps", "static-peak"):
        baseline = baseline_named(name)
        lean, rich = (
            score(made, run(made, baseline.policy(made, knob), name=name)).cost_usd
            for knob in (baseline.knob.sweep[0], baseline.knob.sweep[-1])
        )
        assert rich > lean
