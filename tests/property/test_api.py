"""Invariants of the API's values: durations, schedules, and objects that go to the API server and back."""

from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.api.base import Resource
from forebay.api.parsing import InvalidResourceError, parse_any
from forebay.api.schedules import known_loads
from forebay.api.text import Duration, Quantity
from forebay.api.v1alpha1 import KINDS
from forebay.api.v1alpha1.scalingpolicy import Schedule
from tests.unit.api.manifests import Manifest
from tests.unit.api.mutations import manifests

UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
STEADY = settings(derandomize=True)
BODIES = st.one_of([manifests(kind) for kind in KINDS])


TERMS = st.tuples(st.integers(0, 999_999), st.integers(0, 999_999), st.sampled_from(sorted(UNITS)))


@STEADY
@given(st.lists(TERMS, min_size=1))
def test_a_duration_is_its_terms_to_a_nanosecond_each(terms: list[tuple[int, int, str]]) -> None:
    text = "".join(f"{whole}.{millionths:06}{unit}" for whole, millionths, unit in terms)
    parts = [(whole + Fraction(millionths, 10**6)) * UNITS[unit] for whole, millionths, unit in terms]
    exact = sum(parts, Fraction(0))
    assert abs(Duration(text).nanoseconds - exact) <= len(terms) * Fraction(3, 2)


@STEADY
@given(st.integers(1, 10**6))
def test_suffixes_of_a_quantity_agree(number: int) -> None:
    assert Quantity(f"{number}m").exact * 1000 == Quantity(str(number)).exact
    assert Quantity(f"{number}k").exact == Quantity(str(number)).exact * 1000


@STEADY
@given(BODIES)
def test_an_object_survives_the_way_out_and_back_or_meets_one_sentence(body: Manifest) -> None:
    try:
        parsed: Resource = parse_any(body)
    except InvalidResourceError as refused:
        sentence = str(refused)
    else:
        sentence = "."
        assert parse_any(parsed.model_dump(mode="json", by_alias=True, exclude_none=True)) == parsed
    assert sentence.endswith(".")
    assert "\n" not in sentence


CLOCK = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
HOURS = st.tuples(CLOCK, CLOCK).filter(lambda pair: pair[0] != pair[1])


@STEADY
@given(
    HOURS,
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    st.integers(0, 2**31),
    st.floats(60, 1e6),
)
def test_loads_lie_in_the_window_in_order_and_apart(
    hours: tuple[str, str], zone: str, now: int, horizon: float
) -> None:
    schedule = Schedule.model_validate(
        {"name": "s", "start": hours[0], "end": hours[1], "timeZone": zone, "requestsPerSecond": 3}
    )
    loads = known_loads((schedule,), now_seconds=now, horizon_seconds=horizon)
    assert all(load.end_seconds > now and load.start_seconds <= now + horizon for load in loads)
    assert all(0 < load.end_seconds - load.start_seconds <= 25 * 3600 for load in loads)
    assert all(first.end_seconds < second.start_seconds for first, second in pairwise(loads))
    assert len(loads) >= int(horizon // 86_400) - 1
