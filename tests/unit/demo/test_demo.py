"""The demo's judgement and its scene, without a cluster."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from demo.cli import _still_runs, main
from demo.picture import whole_hours
from demo.sample import ROLES, RoleSample, Sample, _demand
from demo.scene import BUSIEST_REQUESTS_PER_SECOND, DAYS_BEFORE, STEPS_PER_DAY, Scene, clock_of_day, scene
from demo.table import plain
from demo.verdict import forecasts_that_came_true, in_words, judge
from demo.yesterday import _by_second
from devcluster import DevClusterError
from forebay.offline.traces import TraceError


@pytest.fixture(scope="module")
def played() -> Scene:
    return scene(seconds=288.0, trace_file=None)


def sample(
    seconds: float, desired: int, *, queue: int = 0, up: bool = True, blind: str = "", q90: float | None = None
) -> Sample:
    roles = {
        role: RoleSample(ready=desired, desired=desired, queue=queue, nodes=1) for role in ("prefill", "decode")
    }
    return Sample(
        seconds=seconds,
        demand=5.0,
        arrived=int(seconds * 5),
        forecast_q90=q90,
        lead_seconds=None if q90 is None else 10.0,
        ttft_seconds=0.5,
        itl_seconds=0.03,
        attainment=0.97,
        attainment_last_minute=0.97,
        usd_per_hour=9.0,
        roles=roles,
        prometheus_up=up,
        blind=blind,
        why="",
    )


def test_growing_and_shrinking_is_following(played: Scene) -> None:
    result = judge(played, [sample(0, 2), sample(10, 5), sample(90, 3)], cluster="local", rounds=90)
    assert result.followed
    assert (result.scale_outs, result.scale_ins, result.wrong_scale_ins) == (2, 2, 0)
    assert result.static_gpu_hours == pytest.approx(10 * 90 / 3600)
    assert result.gpu_hours == pytest.approx((4 * 10 + 10 * 80) / 3600)
    assert in_words(result).startswith("The operator followed the load.")


def test_an_order_taken_back_before_it_is_ready_is_counted(played: Scene) -> None:
    ordered = replace(sample(10, 6), roles={r: RoleSample(ready=4, desired=6, queue=0) for r in ROLES})
    result = judge(played, [sample(0, 2), ordered, sample(20, 3)], cluster="local", rounds=20)
    assert result.cancelled_orders == 4  # two of each role were on their way
    assert "cancelled before their replica was ready: 4." in in_words(result)


def test_the_days_before_are_counted_in_steps_and_written_as_counters(played: Scene) -> None:
    assert played.history is not None
    assert len(played.history) == DAYS_BEFORE * STEPS_PER_DAY
    day = played.history[-STEPS_PER_DAY:].sum()
    assert day == pytest.approx(len(played.trace), rel=0.15)
    times, requests = _by_second(played, played.history, 1_000_000.0)
    assert times[-1] < 1_000_000.0
    assert requests[-1] == pytest.approx(played.history.sum(), rel=0.01)
    assert (np.diff(requests) >= 0.0).all()


def test_never_growing_or_never_shrinking_is_not(played: Scene) -> None:
    assert not judge(played, [sample(0, 2), sample(50, 2), sample(90, 2)], cluster="local", rounds=1).followed
    stuck = judge(played, [sample(0, 2), sample(10, 5), sample(90, 5)], cluster="local", rounds=1)
    assert not stuck.followed
    assert "did NOT follow" in in_words(stuck)


def test_a_scale_in_while_blind_or_queueing_is_wrong(played: Scene) -> None:
    middle = sum(played.outage) / 2
    blind = [
        sample(0, 2),
        sample(10, 6),
        sample(middle, 6, up=False),
        sample(middle + 1, 3, up=False),
        sample(99, 3),
    ]
    assert judge(played, blind, cluster="local", rounds=1).wrong_scale_ins == 2
    queueing = [sample(0, 2), sample(10, 6, queue=40), sample(20, 3, queue=40), sample(99, 3)]
    result = judge(played, queueing, cluster="local", rounds=1)
    assert result.wrong_scale_ins == 2
    assert not result.followed


def test_capacity_held_through_the_outage_is_said(played: Scene) -> None:
    start, end = played.outage
    samples = [sample(0, 2), sample(start + 1, 6), sample(end - 1, 6, up=False), sample(end + 5, 3)]
    assert "it took nothing away" in in_words(judge(played, samples, cluster="local", rounds=1))


def test_the_generated_day_has_one_hill_and_the_rate_that_the_engines_can_carry(played: Scene) -> None:
    counts = np.bincount((played.trace.arrival_seconds // 10.0).astype(np.int64)) / 10.0
    assert counts.max() == pytest.approx(BUSIEST_REQUESTS_PER_SECOND, rel=0.35)
    assert counts[0] < counts.max() / 1.5
    assert counts[-3:].mean() < counts.max() / 2
    assert clock_of_day(played, 0.0) == "04:00"


def test_the_scene_is_the_same_every_time(played: Scene) -> None:
    again = scene(seconds=288.0, trace_file=None)
    assert np.array_equal(again.trace.arrival_seconds, played.trace.arrival_seconds)


def test_a_recorded_trace_is_squeezed_into_the_scene(tmp_path: Path) -> None:
    file = tmp_path / "requests.csv"
    rows = "\n".join(f"{second},100,50" for second in range(0, 4000, 2))
    file.write_text(f"arrival_s,input_tokens,output_tokens\n{rows}\n")
    squeezed = scene(seconds=288.0, trace_file=file)
    assert squeezed.source == "requests.csv"
    assert squeezed.trace.span_seconds == pytest.approx(288.0, abs=3.0)
    assert clock_of_day(squeezed, 0.0) == "00:00"


def test_a_broken_trace_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "broken.csv"
    file.write_text("what,is,this\n1,2,3\n")
    with pytest.raises(TraceError, match=r"broken\.csv"):
        scene(seconds=288.0, trace_file=file)


def test_a_plain_line_says_what_is_unknown_and_why_nothing_is_released(played: Scene) -> None:
    line = plain(played, sample(20.0, 3, blind="Unreachable"))
    assert "prefill 3/3 on 1  decode 3/3 on 1" in line
    assert "q90    -" in line
    assert "nothing is released: Prometheus does not answer" in line


def test_forecasts_are_compared_with_what_came(played: Scene) -> None:
    samples = [
        sample(0, 2),
        sample(10, 5, q90=4.9),
        sample(20, 5, q90=5.1),
        sample(90, 3, q90=0.1),
        sample(100, 3),
    ]
    forecasts, demands = zip(*forecasts_that_came_true(samples, 4.0), strict=True)
    assert forecasts == (4.9, 5.1)
    assert demands == pytest.approx((5.0, 5.0))
    result = judge(played, samples, cluster="local", rounds=90)
    assert result.forecast_coverage90 == 0.5
    assert result.forecast_seconds == pytest.approx(10 + 70 + 10)
    assert "within the forecast's 90th percentile 50% of the time" in in_words(result)
    assert judge(played, [sample(0, 2), sample(90, 3)], cluster="local", rounds=9).forecast_coverage90 is None


def test_demand_is_that_of_the_last_seconds() -> None:
    earlier = [sample(second, 2) for second in range(60)]
    assert _demand(60.0, earlier[52].arrived + 16, earlier) == pytest.approx(2.0)
    assert _demand(1.0, 5, [sample(0, 2)]) == pytest.approx(5.0)
    assert _demand(0.0, 0, []) is None


def test_the_time_of_day_is_written_at_whole_hours(played: Scene) -> None:
    ticks = whole_hours(played)
    assert [clock_of_day(played, tick) for tick in ticks[:3]] == ["04:00", "07:00", "10:00"]
    assert ticks[-1] == pytest.approx(played.seconds, rel=1e-3)


@pytest.mark.parametrize("length", ["0", "-5", "soon", "nan", "1e9"])
def test_a_day_of_no_length_is_refused_in_words(length: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seconds", length])
    assert "is no length; give 144 times 2, 3, 4, 5 or 6 s, such as 288" in capsys.readouterr().err


def test_an_operator_that_ended_ends_the_demo_with_its_last_words() -> None:
    """Protects from a connection error, and from a verdict over nothing."""
    ended = SimpleNamespace(exit_status=lambda: 3, log=lambda _: "the lease was lost")
    with pytest.raises(DevClusterError, match=r"(?s)ended with status 3.*the lease was lost"):
        _still_runs(SimpleNamespace(operator=ended))  # type: ignore[arg-type]
    _still_runs(SimpleNamespace(operator=SimpleNamespace(exit_status=lambda: None)))  # type: ignore[arg-type]


def test_a_trace_that_is_too_short_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "short.csv"
    file.write_text("arrival_s,input_tokens,output_tokens\n0,100,50\n30,100,50\n")
    with pytest.raises(TraceError, match=r"short\.csv: covers 30 s, and 288 s are played; give a longer trace"):
        scene(seconds=288.0, trace_file=file)
