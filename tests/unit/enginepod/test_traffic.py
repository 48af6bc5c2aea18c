"""Traffic of the load generator: what is sent when, and what is refused."""

import math
from itertools import islice

import numpy as np
import pytest

from enginepod.traffic import Step, TrafficError, parse_steps, played, stepped
from forebay.flow.trace import RequestTrace


def test_steps_are_pairs_and_a_rate_alone_goes_on() -> None:
    assert parse_steps("60:2,5", most_per_second=10) == (Step(60, 2), Step(math.inf, 5))


@pytest.mark.parametrize("text", ["", "fast", "60:", "0:1", "60:-1", "60:11", "nan:1"])
def test_steps_that_cannot_be_sent_are_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(TrafficError, match="step"):
        parse_steps(text, most_per_second=10)


def test_each_step_has_its_rate() -> None:
    steps = (Step(100, 2), Step(50, 0), Step(100, 10))
    times = np.array([request.at_seconds for request in stepped(steps, input_tokens=1, output_tokens=1, seed=0)])
    assert np.all(np.diff(times) >= 0)
    counts = np.histogram(times, [0, 100, 150, 250])[0]
    assert counts[0] == pytest.approx(200, rel=0.1)
    assert counts[1] == 0
    assert counts[2] == pytest.approx(1_000, rel=0.1)


def test_a_step_without_end_goes_on() -> None:
    later = list(islice(stepped((Step(math.inf, 1),), input_tokens=3, output_tokens=4, seed=0), 1_000))
    assert later[-1].at_seconds == pytest.approx(1_000, rel=0.1)
    assert (later[0].input_tokens, later[0].output_tokens) == (3, 4)


def test_a_trace_is_played_as_it_is() -> None:
    trace = RequestTrace(
        name="two",
        arrival_seconds=np.array([0.5, 2.0]),
        input_tokens=np.array([10, 0]),
        output_tokens=np.array([5, 7]),
    )
    assert [(one.at_seconds, one.input_tokens, one.output_tokens) for one in played(trace)] == [
        (0.5, 10, 5),
        (2.0, 1, 7),
    ]
