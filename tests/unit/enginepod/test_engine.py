"""One engine in real time: its times are those of the performance model, and nothing gets lost in it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginepod.engine import Engine, Job, Work, _tokens_gained
from enginepod.recording import Recording
from forebay.flow.performance import Performance
from forebay.offline.simulation.accelerate import python_function
from forebay.offline.simulation.slot_physics import tokens_gained

SPEED = Performance(
    prefill_base_seconds=0.1,
    prefill_seconds_per_token=0.001,
    decode_base_seconds=0.02,
    decode_seconds_per_sequence=0.005,
    decode_seconds_per_kv_token=0.0,
    max_batch=2,
    kv_capacity_tokens=1_000,
    kv_transfer_seconds_per_token=0.002,
)


def job(work: Work = Work.WHOLE, *, at: float = 0.0, prompt: int = 100, output: int = 11) -> Job:
    return Job(prompt_tokens=prompt, output_tokens=output, work=work, arrival=at)


def run(engine: Engine, *jobs: Job) -> None:
    for one in jobs:
        engine.advance(one.arrival)
        engine.submit(one)
    while (event := engine.next_event()) < math.inf:
        engine.advance(event)


def test_a_lone_request_takes_prefill_and_steps() -> None:
    engine, one = Engine(SPEED, 0.0), job()
    run(engine, one)
    assert one.first_token == pytest.approx(0.2)
    assert one.done == pytest.approx(0.2 + 10 * 0.025)
    assert engine.generated == pytest.approx(11)


def test_a_prefill_engine_is_done_with_the_first_token() -> None:
    first, second = job(Work.PREFILL, output=1), job(Work.PREFILL, output=1)
    run(Engine(SPEED, 0.0), first, second)
    assert (first.done, second.done) == pytest.approx((0.2, 0.4))
    assert second.started == pytest.approx(0.2)


def test_a_decode_engine_waits_for_the_cache_and_then_for_a_place() -> None:
    jobs = [job(Work.DECODE, output=10) for _ in range(3)]
    engine = Engine(SPEED, 0.0)
    run(engine, *jobs)
    moved, step = 0.2, 0.03
    assert [one.started for one in jobs] == pytest.approx([moved, moved, moved + 10 * step])
    assert jobs[2].done == pytest.approx(moved + 10 * step + 10 * 0.025)


def test_decoding_stands_still_during_a_prefill() -> None:
    early, late = job(prompt=0), job(at=0.15)
    run(Engine(SPEED, 0.0), early, late)
    # Two steps' time has passed when the second prefill begins; 0.2 s later two sequences share the batch.
    assert late.first_token == pytest.approx(0.35)
    assert early.done == pytest.approx(0.35 + 8 * 0.03)


def test_a_client_that_leaves_makes_room() -> None:
    engine, gone, stays = Engine(SPEED, 0.0), job(), job(at=0.05)
    engine.submit(gone)
    engine.advance(0.05)
    engine.submit(stays)
    engine.abort(gone)
    run(engine)
    assert math.isnan(gone.done)
    assert stays.first_token == pytest.approx(0.05 + 0.2)
    assert (engine.running, engine.waiting) == (0, 0)


requests = st.lists(
    st.builds(
        job,
        st.sampled_from(Work),
        at=st.floats(0, 5),
        prompt=st.integers(1, 600),
        output=st.integers(1, 300),
    ),
    max_size=12,
)


@given(requests)
def test_every_request_is_answered_in_order_of_its_parts(jobs: list[Job]) -> None:
    engine = Engine(SPEED, 0.0)
    run(engine, *sorted(jobs, key=lambda one: one.arrival))
    for one in jobs:
        assert one.arrival <= one.started <= one.first_token <= one.done
        assert engine.generated_for(one) == one.output_tokens
    assert (engine.running, engine.waiting) == (0, 0)
    assert engine.kv_tokens == pytest.approx(0.0, abs=1e-3)


@given(st.floats(0, 10), st.floats(0.1, 100), st.floats(0, 0.1))
def test_sequences_gain_tokens_as_in_the_replay(elapsed: float, rate: float, growth: float) -> None:
    simulated = python_function(tokens_gained)
    assert simulated is not None
    assert _tokens_gained(elapsed, rate, growth) == simulated(elapsed, rate, growth)


def test_an_engine_shows_the_prefill_time_by_which_it_is_calibrated() -> None:
    """Protects: a table asked for a quantity that these engines did not record, and no pool was calibrated."""
    engine = Engine(SPEED, 0.0)
    recording = Recording(model="m", dialect="vllm", engine=engine)
    engine.submit(job())
    while (event := engine.next_event()) < math.inf:
        recording.record(engine.advance(event))
    (line,) = [
        each
        for each in recording.text().splitlines()
        if each.startswith("vllm:request_prefill_time_seconds_count")
    ]
    assert line.endswith(" 1.0")
