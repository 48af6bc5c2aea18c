"""What must hold for any answer, any name and any stream."""

import math

from hypothesis import given
from hypothesis import strategies as st

from forebay.telemetry.query.histograms import bracket, histogram_counts
from forebay.telemetry.query.pod_names import workload_of_pod
from forebay.telemetry.query.promql import Matcher, escape_regex, one_of, quote, selector
from forebay.telemetry.query.readings import Slots
from forebay.telemetry.signals.arrivals import Ledger, choose_slot, merged
from forebay.telemetry.transport.answer import parse_matrix, parse_single, parse_vector

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)
NUMBERS = st.sampled_from(["1", "NaN", "+Inf", "-Inf", "-1", "1e308", "", "x"]) | SCALARS
POINTS = st.lists(NUMBERS, max_size=3) | st.tuples(st.floats(0, 100), NUMBERS).map(list) | JSON
METRICS = st.dictionaries(st.sampled_from(["a", "le", "z"]), SCALARS | st.just("v"), max_size=3) | JSON
SERIES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"metric": METRICS, "value": POINTS, "values": st.lists(POINTS, max_size=4) | JSON}
    )
    | JSON,
    max_size=5,
)
TEXT = st.text(st.characters(codec=None), max_size=30)  # lone surrogates included


@given(SERIES | JSON)
def test_no_answer_makes_a_reader_raise_and_only_numbers_come_through(result: object) -> None:
    vector = parse_vector(result, ("a", "le"))
    assert all(math.isfinite(value) for value in vector.values.values())
    assert not set(vector.values) & (vector.duplicate | vector.not_a_number)
    matrix = parse_matrix(result, ("a",), start_seconds=0.0, step_seconds=5.0, steps=4)
    assert all(len(row) == 4 for row in matrix.values.values())
    assert all(math.isnan(value) or math.isfinite(value) for row in matrix.values.values() for value in row)
    single = parse_single(result)
    assert isinstance(single, str) or math.isfinite(single[1])


def unquoted(literal: str) -> str:
    """Read a Go string literal, as Prometheus' lexer does; raise where it would end early."""
    assert literal[0] == literal[-1] == '"'
    inside, result, index = literal[1:-1], [], 0
    while index < len(inside):
        character = inside[index]
        assert character not in {'"', "\n"}, "the literal ends before its end"
        if character != "\\":
            result.append(character)
            index += 1
        elif inside[index + 1] == "u":
            result.append(chr(int(inside[index + 2 : index + 6], 16)))
            index += 6
        else:
            assert inside[index + 1] in {'"', "\\"}
            result.append(inside[index + 1])
            index += 2
    return "".join(result)


@given(TEXT)
def test_no_value_ends_its_literal(value: str) -> None:
    shown = unquoted(quote(value))
    assert shown == "".join("�" if 0xD800 <= ord(character) <= 0xDFFF else character for character in value)


@given(TEXT)
def test_no_value_adds_a_matcher(value: str) -> None:
    text = selector("up", [Matcher("pod", "=", value), one_of("namespace", [value, "b"])])
    rest = text.removeprefix("up{pod=" + quote(value) + ",namespace=~")
    assert rest.endswith("}")
    assert unquoted(rest[:-1])


@given(st.text(st.characters(codec="ascii", min_codepoint=32), max_size=20))
def test_an_escaped_value_matches_itself_alone(value: str) -> None:
    import re

    pattern = re.compile(escape_regex(value))
    assert pattern.fullmatch(value)
    assert not pattern.fullmatch(value + "x")


@given(st.text(max_size=40))
def test_any_pod_name_reduces_to_a_beginning_of_itself(pod: str) -> None:
    workload = workload_of_pod(pod)
    assert workload is None or (pod.startswith(workload + "-") and workload)


@given(st.integers(1, 24).map(lambda n: 5 * n), st.floats(0.5, 400.0), st.sampled_from([1, 5]))
def test_slots_divide_the_interval(interval: int, scrape: float, grid: int) -> None:
    slot = choose_slot(interval, scrape, grid)
    assert interval % slot == 0
    assert slot == interval or (slot >= 0.99 * scrape and slot % grid == 0)


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=24), st.floats(1.0, 200.0))
def test_merging_keeps_the_sum(counts: list[float], resolution: float) -> None:
    result = merged(counts, 5.0, resolution)
    assert math.isclose(math.fsum(result), math.fsum(counts), rel_tol=1e-9, abs_tol=1e-9)
    assert len(counts) % len(result) == 0


@given(st.lists(st.tuples(st.integers(-3, 50), st.booleans()), min_size=1, max_size=60))
def test_the_ledger_gives_out_every_arrival_once(script: list[tuple[int, bool]]) -> None:
    """Whatever the pattern of fresh and stale rounds: intervals join, and all that was entered comes out."""
    ledger = Ledger()
    out, entered, until = 0.0, 0.0, 0.0
    script = [*script, (200, True)]
    for index, (count, fresh) in enumerate(script):
        slots = Slots(15 * index, 15 * index + 15, 15, 15)
        given_out = ledger.enter(slots, [float(count)], fresh=fresh, resolution_seconds=15.0, keep_seconds=1e9)
        entered += count
        assert (given_out is not None) == fresh
        if given_out is not None:
            assert given_out.start_seconds == until
            assert min(given_out.slot_counts) >= 0.0
            until = given_out.end_seconds
            out += given_out.total
    assert math.isclose(out, entered, abs_tol=1e-6)


@given(st.lists(st.floats(0.001, 100.0), max_size=8), st.floats(0.001, 100.0))
def test_a_bracket_holds_the_objective(edges: list[float], objective: float) -> None:
    found = bracket([*edges, math.inf], objective)
    assert found is not None
    slack = 1e-6 * max(1.0, objective)
    assert (found.below or 0.0) - slack <= objective <= found.above + slack


@given(st.dictionaries(st.sampled_from(["1", "5", "2.5", "+Inf", "x", "NaN"]), st.floats(-1e6, 1e6)))
def test_histograms_never_go_below_zero(cumulative: dict[str, float]) -> None:
    found = histogram_counts(cumulative)
    if found is not None:
        assert list(found[0]) == sorted(found[0])
        assert min(found[1]) >= 0.0
