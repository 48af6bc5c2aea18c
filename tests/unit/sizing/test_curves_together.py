"""Curves of many pools at once are the same numbers as one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.flow.fleet import Role, Slo
from forebay.flow.forecast import Quantiles
from forebay.sizing.curve import CurveAsk, DemandNodes, certain, demand_nodes, miss_curves
from forebay.sizing.lengths import LengthTracker
from forebay.sizing.work import Correction, replica_work
from tests.unit.pipeline.fleets import PERFORMANCE

_ROLES = st.sampled_from(list(Role))


@st.composite
def asks(draw: st.DrawFn) -> CurveAsk:
    rate = draw(st.floats(0.0, 900.0))
    spread = draw(st.floats(1.0, 2.0))
    slo = Slo(ttft_seconds=draw(st.sampled_from([0.05, 0.5, 2.0])), itl_seconds=0.025)
    correction = Correction(draw(st.floats(0.7, 2.0)), draw(st.floats(0.7, 2.0)))
    tracker = LengthTracker(input_tokens=draw(st.floats(10.0, 8000.0)), output_tokens=draw(st.floats(1.0, 900.0)))
    work = replica_work(PERFORMANCE, correction, tracker.current(), slo)
    demands: tuple[DemandNodes, ...] = (certain(rate),)
    if draw(st.booleans()):
        quantiles = Quantiles(rate, rate * spread, rate * spread**2)
        demands = (demand_nodes(quantiles, 1e6), demand_nodes(quantiles, rate * spread))
    return CurveAsk(draw(_ROLES), demands, draw(st.floats(0.0, 1.0)), work, slo)


@settings(max_examples=40, deadline=None)
@given(st.lists(asks(), max_size=12))
def test_company_changes_no_number(several: list[CurveAsk]) -> None:
    for ask, together in zip(several, miss_curves(several), strict=True):
        (alone,) = miss_curves([ask])
        for one, other in zip(alone, together, strict=True):
            assert one.erlangs == other.erlangs
            np.testing.assert_array_equal(one.replicas, other.replicas)
            np.testing.assert_array_equal(one.misses_per_second, other.misses_per_second)


def test_a_demand_that_is_no_number_is_refused() -> None:
    slo = Slo(ttft_seconds=0.5, itl_seconds=0.025)
    work = replica_work(PERFORMANCE, Correction(), LengthTracker().current(), slo)
    unknown = DemandNodes(np.array([np.nan]), np.ones(1))
    with pytest.raises(ValueError, match="finite"):
        miss_curves([CurveAsk(Role.PREFILL, (unknown,), 0.1, work, slo)])
