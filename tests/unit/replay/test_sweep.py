"""Sweeps: which points lie on a frontier, and which setting one would have chosen."""

from forebay.offline.replay.loop.scenario import first_part
from forebay.offline.replay.loop.score import PolicyScore
from forebay.offline.replay.results.frontier import best_in_hindsight, frontier, transferred
from tests.unit.replay.scenarios import KEY, scenario


def entry(name: str, knob: float, usd: float, attainment: float) -> PolicyScore:
    return PolicyScore(
        name=name,
        knob=knob,
        slo_attainment=attainment,
        ttft_p50_seconds=0.1,
        ttft_p99_seconds=0.2,
        itl_p99_seconds=0.02,
        goodput_requests_per_second=1.0,
        unserved_requests=0,
        gpu_hours=usd,
        cost_usd=usd,
        energy_kwh=None,
        scale_actions_per_hour=0.0,
        worst_window_attainment=attainment,
        meets_target=attainment >= 0.95,
        attainment_by_pool={"test/chat": attainment},
    )


SCORES = [
    entry("hpa", 0.9, 8.0, 0.80),
    entry("hpa", 0.7, 10.0, 0.96),
    entry("hpa", 0.6, 12.0, 0.95),
    entry("hpa", 0.5, 15.0, 0.99),
    entry("reactive", 0.7, 9.0, 0.90),
]


def test_frontiers_leave_out_what_is_dearer_and_no_better() -> None:
    on = {(point.policy, point.knob) for point in frontier(SCORES) if point.on_frontier}
    assert on == {("hpa", 0.9), ("hpa", 0.7), ("hpa", 0.5), ("reactive", 0.7)}
    assert len(frontier(SCORES)) == len(SCORES)


def test_hindsight_takes_the_cheapest_that_meets_the_target() -> None:
    best = best_in_hindsight(SCORES)
    assert set(best) == {"hpa"}
    assert best["hpa"].knob == 0.7


def test_a_transferred_setting_is_judged_on_the_whole() -> None:
    early = [entry("hpa", 0.9, 2.0, 0.97), entry("hpa", 0.7, 3.0, 0.99), entry("reactive", 0.7, 3.0, 0.5)]
    moved = transferred(SCORES, early)
    assert moved["hpa"].knob == 0.9
    assert moved["hpa"].score is SCORES[0]
    assert moved["reactive"].knob is None
    assert moved["reactive"].score is None


def test_hindsight_is_never_transferred() -> None:
    whole = [entry("static-peak", 1.0, 9.0, 0.99)]
    assert transferred(whole, whole) == {}


def test_the_first_part_ends_where_it_says() -> None:
    made = scenario()
    part = first_part(made)
    assert part.span_seconds <= made.span_seconds / 3.0
    count = len(part.traces[KEY])
    assert made.traces[KEY].arrival_seconds[count] >= made.span_seconds / 3.0
    assert len(part.traces[KEY].output_tokens) == count
