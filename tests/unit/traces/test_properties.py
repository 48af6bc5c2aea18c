"""Invariants of loaders, transforms and the generator on arbitrary input."""

import gzip
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.flow.trace import RequestTrace
from forebay.offline.traces import (
    PRESETS,
    LoadOptions,
    TraceError,
    at_rate,
    compress_time,
    generate,
    load_trace,
    superpose,
    trace_formats,
    window,
    write_plain,
)

HEADERS = [
    b"",
    b"arrival_s,input_tokens,output_tokens\n",
    b"arrival_s,input_tokens,output_tokens,cached_tokens\n",
    b"TIMESTAMP,ContextTokens,GeneratedTokens\n",
    b"Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n",
    b"t_seconds,requests,input_tokens,output_tokens,gap\n",
    b'{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": [1]}\n',
]
FIELDS = st.sampled_from(
    ["0", "1", "60", "2.5", "-1", "1e9", "1e400", "nan", "", '"', "x", "2024-05-10 00:00:00.1+00:00", "2024-05-10"]
)
LINES = st.lists(FIELDS, max_size=7).map(",".join)
EVEN_BINS = st.lists(st.integers(0, 500), min_size=2, max_size=9).map(
    lambda counts: "".join(f"{60 * i},{n},{9 * n},{n},0\n" for i, n in enumerate(counts)).encode()
)
CSV_LIKE = st.lists(LINES, max_size=8).map(lambda lines: "\n".join(lines).encode())


@st.composite
def traces(draw: st.DrawFn) -> RequestTrace:
    count = draw(st.integers(1, 60))
    gaps = draw(st.lists(st.floats(0, 1e4, allow_subnormal=False), min_size=count, max_size=count))
    inputs = draw(st.lists(st.integers(0, 10**6), min_size=count, max_size=count))
    outputs = draw(st.lists(st.integers(0, 10**5), min_size=count, max_size=count))
    shares = draw(st.none() | st.lists(st.floats(0, 1), min_size=count, max_size=count))
    prompts = np.asarray(inputs, dtype=np.int64)
    return RequestTrace(
        name="drawn",
        arrival_seconds=np.cumsum(gaps),
        input_tokens=prompts,
        output_tokens=np.asarray(outputs, dtype=np.int64),
        cached_tokens=None if shares is None else (prompts * np.asarray(shares)).astype(np.int64),
    )


def check(trace: RequestTrace) -> None:
    assert len(trace) > 0
    assert np.all(np.isfinite(trace.arrival_seconds))
    assert trace.arrival_seconds[0] >= 0
    assert np.all(np.diff(trace.arrival_seconds) >= 0)
    assert np.all(trace.input_tokens >= 0)
    assert np.all(trace.output_tokens >= 0)
    assert len(trace.input_tokens) == len(trace.output_tokens) == len(trace)
    if trace.cached_tokens is not None:
        assert np.all((trace.cached_tokens >= 0) & (trace.cached_tokens <= trace.input_tokens))


@settings(max_examples=300)
@given(
    header=st.sampled_from(HEADERS),
    body=st.binary(max_size=200) | CSV_LIKE | EVEN_BINS,
    packed=st.booleans(),
    cut=st.integers(0, 30),
    name=st.none() | st.sampled_from(sorted(trace_formats())),
    rate=st.none() | st.floats(-1, 100),
)
def test_arbitrary_bytes_give_a_trace_or_a_trace_error(
    *, header: bytes, body: bytes, packed: bool, cut: int, name: str | None, rate: float | None
) -> None:
    content = gzip.compress(header + body)[: -cut or None] if packed else header + body
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        path.write_bytes(content)
        options = LoadOptions(format=name, requests_per_second=rate, max_requests=100_000)
        with suppress(TraceError):
            check(load_trace(path, options))


@settings(max_examples=100)
@given(trace=st.binary(max_size=120) | CSV_LIKE, dataset=st.binary(max_size=80))
def test_arbitrary_servegen_folders_give_a_trace_or_a_trace_error(trace: bytes, dataset: bytes) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "chunk-0-trace.csv").write_bytes(trace)
        (Path(folder) / "chunk-0-dataset.json").write_bytes(dataset)
        with suppress(TraceError):
            check(load_trace(folder, LoadOptions(max_requests=100_000)))


@settings(max_examples=60)
@given(trace=traces(), packed=st.booleans())
def test_what_is_written_is_read_back(*, trace: RequestTrace, packed: bool) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("drawn.csv.gz" if packed else "drawn.csv")
        write_plain(trace, path)
        back = load_trace(path)
    check(back)
    np.testing.assert_allclose(back.arrival_seconds, trace.arrival_seconds, atol=6e-7, rtol=1e-12)
    np.testing.assert_array_equal(back.input_tokens, trace.input_tokens)
    np.testing.assert_array_equal(back.output_tokens, trace.output_tokens)
    if trace.cached_tokens is None:
        assert back.cached_tokens is None
    else:
        assert back.cached_tokens is not None
        np.testing.assert_array_equal(back.cached_tokens, trace.cached_tokens)


@settings(max_examples=60)
@given(trace=traces(), copies=st.integers(1, 5), seed=st.integers(0, 9))
def test_superposed_copies_keep_every_request(trace: RequestTrace, copies: int, seed: int) -> None:
    many = superpose(trace, copies, seed=seed)
    check(many)
    assert len(many) == copies * len(trace)
    assert many.input_tokens.sum() == copies * trace.input_tokens.sum()
    assert np.max(np.abs(np.sort(many.arrival_seconds)[::copies] - trace.arrival_seconds)) <= 10.0


@settings(max_examples=60)
@given(trace=traces(), start=st.floats(0, 1e5), length=st.floats(1, 1e5))
def test_a_window_holds_what_lies_in_it(trace: RequestTrace, start: float, length: float) -> None:
    inside = (trace.arrival_seconds >= start) & (trace.arrival_seconds < start + length)
    try:
        part = window(trace, start, start + length)
    except TraceError:
        assert not inside.any()
        return
    check(part)
    assert len(part) == inside.sum()
    before = part.history_requests_per_minute
    assert (0 if before is None else len(before)) == min(int(start // 60), 2880)


@settings(max_examples=60)
@given(trace=traces(), factor=st.floats(1, 50), seed=st.integers(0, 9))
def test_compressed_time_shortens_and_thins(trace: RequestTrace, factor: float, seed: int) -> None:
    fast = compress_time(trace, factor, seed=seed)
    check(fast)
    assert len(fast) <= len(trace)
    assert fast.span_seconds <= trace.span_seconds / factor * (1 + 1e-9)


@settings(max_examples=40)
@given(trace=traces(), share=st.floats(0.2, 5), seed=st.integers(0, 9))
def test_a_rate_is_met_within_one_request_per_request(trace: RequestTrace, share: float, seed: int) -> None:
    if trace.span_seconds <= 1:
        return
    wanted = share * len(trace)
    scaled = at_rate(trace, wanted / trace.span_seconds, seed=seed)
    check(scaled)
    assert abs(len(scaled) - wanted) <= len(trace)


@settings(max_examples=30)
@given(
    name=st.sampled_from(sorted(PRESETS)),
    seed=st.integers(0, 5),
    day=st.integers(0, 6),
    hour=st.floats(0, 24),
    history=st.sampled_from([0.0, 1800.0]),
)
def test_generated_traffic_is_sound_and_repeatable(
    name: str, seed: int, day: int, hour: float, history: float
) -> None:
    spec = replace(
        PRESETS[name],
        duration_seconds=1800.0,
        start_weekday=day,
        start_of_day_seconds=3600 * hour,
        history_seconds=history,
    )
    first, again = generate(spec, seed), generate(spec, seed)
    check(first)
    np.testing.assert_array_equal(first.arrival_seconds, again.arrival_seconds)
    np.testing.assert_array_equal(first.input_tokens, again.input_tokens)
    assert first.span_seconds < 1800
    minutes = first.history_requests_per_minute
    assert (0 if minutes is None else len(minutes)) == history / 60
