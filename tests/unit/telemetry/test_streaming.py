"""Large answers are decoded series by series, to the same result and with the same refusals."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.telemetry.transport.answer import parse_matrix, parse_single, parse_vector
from forebay.telemetry.transport.streaming import SeriesOf, decoded

NAMES = ("namespace", "workload")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def body_of(items: list[Any], indent: int | None = None, **more: object) -> bytes:
    """Return an answer that is large enough to be read piecewise."""
    padding = {"padding": "x" * 70_000}
    answer = {"status": "success", "data": {"resultType": "vector", "result": items}, **more, **padding}
    return json.dumps(answer, indent=indent).encode()


def series(number: int) -> dict[str, object]:
    return {"metric": {"namespace": "a", "workload": f"w-{number}"}, "value": [1.5, str(number)]}


@settings(max_examples=25, deadline=None)
@given(items=st.lists(JSON, max_size=5), indent=st.none() | st.integers(0, 2))
def test_any_list_comes_out_as_json_has_it(items: list[object], indent: int | None) -> None:
    result = decoded(body_of(items, indent))["data"]["result"]
    assert isinstance(result, SeriesOf)
    assert list(result) == items


def test_a_large_answer_reads_as_a_small_one() -> None:
    small = {"status": "success", "data": {"result": [series(1), series(2), {"metric": 7}]}}
    expected = parse_vector(decoded(json.dumps(small).encode())["data"]["result"], NAMES)
    found = parse_vector(decoded(body_of([series(1), series(2), {"metric": 7}]))["data"]["result"], NAMES)
    assert found == expected
    assert (found.values, found.malformed) == ({("a", "w-1"): 1.0, ("a", "w-2"): 2.0}, 1)
    ranged = {"metric": {"namespace": "a", "workload": "w"}, "values": [[0, "1"], [15, "2"]]}
    matrix = parse_matrix(
        decoded(body_of([ranged]))["data"]["result"], NAMES, start_seconds=0.0, step_seconds=15.0, steps=2
    )
    assert matrix.values == {("a", "w"): [1.0, 2.0]}
    assert "2 series" in str(parse_single(decoded(body_of([series(1), series(2)]))["data"]["result"]))


@pytest.mark.parametrize("cut", [75_000, 90_000, 100])
def test_what_is_cut_off_is_refused(cut: int) -> None:
    """Also behind the list, and within a series that looks whole so far."""
    body = body_of([series(number) for number in range(2000)])
    with pytest.raises(ValueError, match=r"cut off|Expecting|Unterminated|delimiter|Extra"):
        list(decoded(body[:-cut])["data"]["result"])


@pytest.mark.parametrize("wrong", [b"[1 2]", b"[1,]", b"[,1]", b"[1}"])
def test_what_is_no_json_is_refused(wrong: bytes) -> None:
    body = b'{"data":{"result":' + wrong + b'},"padding":"' + b"x" * 70_000 + b'"}'
    with pytest.raises(ValueError, match=r"malformed|Expecting"):
        list(decoded(body)["data"]["result"])


def test_a_label_that_looks_like_the_list_is_none() -> None:
    tricky = {"metric": {"namespace": '"result":[', "workload": "]"}, "value": [1, "2"]}
    result = decoded(body_of([tricky], warnings=['"result":[{}]']))["data"]["result"]
    assert parse_vector(result, NAMES).values == {('"result":[', "]"): 2.0}


def test_reading_takes_little_more_memory_than_the_text_and_what_is_kept() -> None:
    body = body_of([series(number) for number in range(20_000)])
    tracemalloc.start()
    kept = parse_vector(decoded(body)["data"]["result"], NAMES)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept.values) == 20_000
    assert peak - held < 2.0 * len(body)
