"""What a server may say, and what is made of it."""

import math

import pytest

from forebay.telemetry.transport.answer import number, parse_matrix, parse_single, parse_vector


def item(value: object, **labels: str) -> dict[str, object]:
    return {"metric": labels, "value": [10.0, value]}


def test_missing_nan_infinite_duplicate_and_malformed_are_told_apart() -> None:
    answer = parse_vector(
        [
            item("1.5", pod="a"),
            item("NaN", pod="b"),
            item("+Inf", pod="c"),
            item("2", pod="d"),
            item("3", pod="d"),
            item(7, pod="e"),
            item("x", pod="f"),
            {"metric": {"pod": "g"}},
            {"metric": {"pod": "h"}, "histogram": [10.0, {"count": "1"}]},
            "nonsense",
        ],
        ("pod",),
    )
    assert answer.values == {("a",): 1.5}
    assert answer.not_a_number == {("b",), ("c",)}
    assert answer.duplicate == {("d",)}
    assert answer.malformed == 5


def test_a_third_duplicate_and_a_duplicate_of_nan_stay_unusable() -> None:
    answer = parse_vector([item("NaN", a="x"), item("1", a="x"), item("2", a="x")], ("a",))
    assert not answer.values
    assert not answer.not_a_number
    assert answer.duplicate == {("x",)}


def test_an_absent_label_is_empty_and_an_odd_one_is_malformed() -> None:
    answer = parse_vector([item("1"), {"metric": {"pod": 3}, "value": [1, "1"]}], ("pod",))
    assert answer.values == {("",): 1.0}
    assert answer.malformed == 1


def test_a_matrix_is_laid_on_its_steps() -> None:
    result = [
        {"metric": {"w": "a"}, "values": [[100, "1"], [110, "NaN"], [115, "4"], [117.5, "9"], [400, "9"], 3]}
    ]
    answer = parse_matrix(result, ("w",), start_seconds=100.0, step_seconds=5.0, steps=4)
    row = answer.values["a",]
    assert row[0] == 1.0
    assert math.isnan(row[1])
    assert math.isnan(row[2])
    assert row[3] == 4.0
    assert answer.malformed == 3


def test_duplicate_rows_of_a_matrix_are_dropped() -> None:
    row = {"metric": {"w": "a"}, "values": [[100, "1"]]}
    answer = parse_matrix([row, row], ("w",), start_seconds=100.0, step_seconds=5.0, steps=1)
    assert not answer.values
    assert answer.duplicate == {("a",)}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ([], "matches no series"),
        ({}, "neither a scalar"),
        ([item("1"), item("2")], "2 series"),
        ([item("NaN")], "nan"),
        ([1.0, "Inf"], "inf"),
        ([1.0, None], "neither a scalar"),
    ],
)
def test_a_single_number_is_asked_for(result: object, said: str) -> None:
    answer = parse_single(result)
    assert isinstance(answer, str)
    assert said in answer


def test_scalars_and_vectors_of_one() -> None:
    assert parse_single([3.0, "4.5"]) == (3.0, 4.5)
    assert parse_single([item("4.5", a="b")]) == (10.0, 4.5)


@pytest.mark.parametrize("text", ["1_000", " 1", "1 ", "٣", "", "0x10", None, 1, True, [1]])
def test_only_prometheus_numbers_are_numbers(text: object) -> None:
    assert number(text) is None


@pytest.mark.parametrize(("text", "value"), [("1e3", 1000.0), ("-0.5", -0.5), ("+Inf", math.inf), ("1", 1.0)])
def test_numbers(text: str, value: float) -> None:
    assert number(text) == value
