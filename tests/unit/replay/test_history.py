"""A pool's past becomes a trace: counts as recorded, gaps joined, lengths as the token counters say."""

import numpy as np
import pytest

from forebay.flow.fleet import PoolKey
from forebay.flow.observation import Freshness
from forebay.flow.trace import FloatArray
from forebay.offline.replay.inputs.build_error import BuildError
from forebay.offline.replay.inputs.prometheus_past import Recorded, drawn
from forebay.telemetry.source import History

KEY = PoolKey("serving", "chat")
START = 1_767_571_200.0 + 3600.0


def _recorded(
    minutes: FloatArray, *, prompt: float = 800.0, output: float = 50.0, cached: float = np.nan
) -> Recorded:
    bins = len(minutes) // 10
    known = np.nansum(minutes[: bins * 10].reshape(-1, 10), axis=1)
    return Recorded(
        history=History(
            start_seconds=START,
            requests_per_minute=minutes,
            freshness=Freshness(signal="history", detail="the server has no counts of this pool"),
        ),
        input_tokens=known * prompt,
        output_tokens=known * output,
        cached_share=np.full(bins, cached),
    )


def test_counts_and_lengths_are_those_recorded() -> None:
    minutes = np.concatenate([np.full(60, 60.0), np.full(60, 240.0)])
    trace = drawn(KEY, _recorded(minutes), seed=1).trace
    first = int((trace.arrival_seconds < 3600.0).sum())
    assert first == pytest.approx(3600, rel=0.1)
    assert len(trace) - first == pytest.approx(14_400, rel=0.1)
    assert trace.input_tokens.mean() == pytest.approx(800, rel=0.1)
    assert trace.output_tokens.mean() == pytest.approx(50, rel=0.1)
    assert trace.start_of_day_seconds == 3600.0


def test_what_prefix_caches_answered_is_no_prefill_work() -> None:
    trace = drawn(KEY, _recorded(np.full(60, 60.0), cached=0.4), seed=1).trace
    assert trace.cached_tokens is not None
    assert trace.cached_tokens.sum() / trace.input_tokens.sum() == pytest.approx(0.4, abs=0.01)
    assert (trace.cached_tokens < trace.input_tokens).all()
    assert drawn(KEY, _recorded(np.full(60, 60.0), cached=0.0), seed=1).trace.cached_tokens is None


def test_gaps_are_joined_and_never_quiet() -> None:
    minutes = np.full(120, 120.0)
    minutes[30:60] = np.nan
    trace = drawn(KEY, _recorded(minutes), seed=1).trace
    inside = (trace.arrival_seconds >= 1800.0) & (trace.arrival_seconds < 3600.0)
    assert int(inside.sum()) == pytest.approx(3600, rel=0.15)


def test_the_same_seed_draws_the_same_requests() -> None:
    minutes = np.full(30, 60.0)
    assert np.array_equal(
        drawn(KEY, _recorded(minutes), seed=2).trace.arrival_seconds,
        drawn(KEY, _recorded(minutes), seed=2).trace.arrival_seconds,
    )


@pytest.mark.parametrize("minutes", [np.full(600, np.nan), np.zeros(600)])
def test_no_history_is_one_sentence(minutes: FloatArray) -> None:
    with pytest.raises(BuildError, match="has no usable history of it"):
        drawn(KEY, _recorded(minutes), seed=0)


def test_nothing_is_made_up_before_the_first_minute_and_after_the_last() -> None:
    minutes = np.full(600, np.nan)
    minutes[480:540] = 60.0
    minutes[500:510] = np.nan
    found = drawn(KEY, _recorded(minutes), seed=1)
    assert found.trace.span_seconds <= 3600.0
    assert len(found.trace) == pytest.approx(3600, rel=0.1)
    assert found.trace.start_of_day_seconds == 3600.0 + 480 * 60.0
    assert found.note.startswith("serving/chat: the server has 1.0 h of the 10.0 h asked for; 10 of 60 minutes")


def test_what_is_whole_needs_no_note() -> None:
    assert drawn(KEY, _recorded(np.full(60, 60.0)), seed=1).note == ""


def test_without_token_counts_the_note_says_which_lengths_are_taken() -> None:
    recorded = _recorded(np.full(60, 60.0), prompt=np.nan)
    assert "no token counts" in drawn(KEY, recorded, seed=1).note
