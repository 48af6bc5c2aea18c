"""ServeGen: a folder per model with ``chunk-N-trace.csv`` and ``chunk-N-dataset.json`` per client.

Each line of a client's trace is one window: ``start_s,requests_per_second,cv,family,shape,scale`` without a
header, with the fitted inter-arrival family (Gamma, Weibull; empty where the client was silent). The dataset
gives probabilities of input and output tokens for some windows. Requests are drawn from these fits: per client
and window the expected number of gaps from the family, stretched to fill the window. Source:
https://github.com/alibaba/ServeGen, Xiang et al., arXiv 2505.09999.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forebay.flow.trace import FloatArray, IntArray, RequestTrace
from forebay.offline.traces.catalogue import TraceFormat
from forebay.offline.traces.csv_columns import CsvColumn, number_column, read_columns
from forebay.offline.traces.length_model import LengthModel, draw_lengths
from forebay.offline.traces.load_options import LoadOptions
from forebay.offline.traces.trace_source import TraceSource
from forebay.offline.traces.transform import window

TRACE_FILES = "chunk-*-trace.csv"
WINDOW_SECONDS = 600.0
SILENT, GAMMA, WEIBULL, EXPONENTIAL = range(4)
FAMILIES = {"": SILENT, "Gamma": GAMMA, "Weibull": WEIBULL, "Exponential": EXPONENTIAL}
_PAIR = re.compile(r"(\d{1,9}): ?([0-9.]+(?:e[+-]?\d+)?)")
_MIN_SHAPE = 0.05
"""A fit below this would put a window's requests into one instant."""


@dataclass(frozen=True, slots=True)
class _Client:
    starts: FloatArray
    rates: FloatArray
    families: IntArray
    shapes: FloatArray
    inputs: "_Distributions"
    outputs: "_Distributions"


@dataclass(frozen=True, slots=True)
class _Distributions:
    """Token distributions in force from ``starts`` on; empty if the file gives none."""

    starts: FloatArray
    tokens: tuple[IntArray, ...]
    probabilities: tuple[FloatArray, ...]

    def draw(self, at_seconds: float, count: int, rng: np.random.Generator) -> IntArray | None:
        if not self.tokens:
            return None
        index = max(0, int(np.searchsorted(self.starts, at_seconds, side="right")) - 1)
        return rng.choice(self.tokens[index], size=count, p=self.probabilities[index])


@dataclass(frozen=True, slots=True)
class _Drawn:
    arrivals: FloatArray
    inputs: IntArray
    outputs: IntArray


def _load(source: TraceSource, options: LoadOptions) -> RequestTrace:
    clients = [_client(path) for path in sorted(source.path.glob(TRACE_FILES))]
    span = max(float(client.starts[-1]) for client in clients) + WINDOW_SECONDS
    mean_rate = sum(float(client.rates.sum()) for client in clients) * WINDOW_SECONDS / span
    if mean_rate <= 0:
        raise source.error("has no requests in any window")
    factor = 1.0 if options.requests_per_second is None else options.requests_per_second / mean_rate
    end = span if options.end_seconds is None else min(span, options.end_seconds)
    begin = max(0.0, options.start_seconds - options.history_seconds)
    _check_size(source, options, clients, begin, end, factor)
    rng = np.random.default_rng(options.seed)
    drawn = [part for client in clients for part in _draw_client(client, begin, end, factor, options.lengths, rng)]
    if not drawn:
        raise source.error(f"has no requests between {options.start_seconds:g} s and {end:g} s")
    arrivals = np.concatenate([part.arrivals for part in drawn]) - begin
    order = np.argsort(arrivals, kind="stable")
    trace = RequestTrace(
        name=source.path.name,
        arrival_seconds=arrivals[order],
        input_tokens=np.concatenate([part.inputs for part in drawn])[order],
        output_tokens=np.concatenate([part.outputs for part in drawn])[order],
        start_of_day_seconds=begin % 86_400,
    )
    cut = window(trace, options.start_seconds - begin, end - begin, history_seconds=options.history_seconds)
    return replace(cut, name=source.path.name)


def _check_size(
    source: TraceSource, options: LoadOptions, clients: list[_Client], begin: float, end: float, factor: float
) -> None:
    expected = 0.0
    for client in clients:
        inside = (client.starts + WINDOW_SECONDS > begin) & (client.starts < end)
        expected += float(client.rates[inside].sum()) * WINDOW_SECONDS * factor
    if expected > options.max_requests:
        limit = options.max_requests
        raise source.error(
            f"would give {expected:.3g} requests with its history (limit {limit:.3g}); choose a window, less "
            "history or a lower requests_per_second"
        )


def _draw_client(
    client: _Client, begin: float, end: float, factor: float, lengths: LengthModel, rng: np.random.Generator
) -> list[_Drawn]:
    parts = []
    inside = (client.starts + WINDOW_SECONDS > begin) & (client.starts < end) & (client.rates > 0)
    for row in np.flatnonzero(inside).tolist():
        count = int(client.rates[row] * WINDOW_SECONDS * factor + rng.random())
        if not count:
            continue
        start = float(client.starts[row])
        gaps = _gaps(int(client.families[row]), float(client.shapes[row]), count + 1, rng)
        arrivals = start + np.cumsum(gaps)[:-1] / gaps.sum() * WINDOW_SECONDS
        fallback = draw_lengths(lengths, count, rng)
        inputs = client.inputs.draw(start, count, rng)
        outputs = client.outputs.draw(start, count, rng)
        parts.append(
            _Drawn(
                arrivals,
                fallback.input_tokens if inputs is None else inputs,
                fallback.output_tokens if outputs is None else outputs,
            )
        )
    return parts


def _gaps(family: int, shape: float, count: int, rng: np.random.Generator) -> FloatArray:
    """Return relative gaps; only their ratios matter. A tiny floor keeps their sum positive."""
    shape = max(shape, _MIN_SHAPE)
    if family == GAMMA:
        gaps = rng.gamma(shape, 1.0, count)
    elif family == WEIBULL:
        gaps = rng.weibull(shape, count)
    else:
        gaps = rng.exponential(1.0, count)
    return gaps + 1e-12


def _client(path: Path) -> _Client:
    source = TraceSource(path)
    columns = [
        number_column("start_s", 0),
        number_column("requests_per_second", 1),
        CsvColumn(name="family", index=3, dtype="S16", parse=_parse_family, parse_bulk=_bulk_family),
        number_column("shape", 4),
    ]
    table = read_columns(source, columns, header=False)
    if np.any(np.diff(table["start_s"]) <= 0):
        row = int(np.argmax(np.diff(table["start_s"]) <= 0)) + 1
        raise source.error(
            "the window does not start after the one above", line=source.line_of_row(row, header=False)
        )
    if table["requests_per_second"].max() > 1e6 or table["start_s"][-1] > 1e9:
        raise source.error("has a rate above a million requests/s or a start beyond 30 years")
    inputs, outputs = _distributions(path.with_name(path.name.replace("-trace.csv", "-dataset.json")))
    return _Client(
        starts=table["start_s"],
        rates=table["requests_per_second"],
        families=table["family"].astype(np.int64),
        shapes=table["shape"],
        inputs=inputs,
        outputs=outputs,
    )


def _parse_family(text: str) -> float:
    if text not in FAMILIES:
        raise ValueError(f"is not one of {', '.join(name for name in FAMILIES if name)}")
    return float(FAMILIES[text])


def _bulk_family(raw: np.ndarray) -> FloatArray:
    names, inverse = np.unique(raw, return_inverse=True)
    codes = [_parse_family(name.decode("ascii", "replace")) for name in names.tolist()]
    return np.asarray(codes, dtype=np.float64)[inverse.reshape(-1)]


def _distributions(path: Path) -> tuple[_Distributions, _Distributions]:
    source = TraceSource(path)
    with source.text() as stream:
        text = stream.read()
    try:
        windows = json.loads(text)
    except (ValueError, RecursionError):
        raise source.error("is not JSON") from None
    if not isinstance(windows, dict) or not all(isinstance(window, dict) for window in windows.values()):
        raise source.error('is not an object of windows, such as {"21600": {"input_tokens": "{300: 0.1}"}}')
    try:
        starts = {float(start): tokens for start, tokens in windows.items()}
    except ValueError:
        raise source.error("names a window that is not a number of seconds") from None
    ordered = dict(sorted(starts.items()))
    return _of_kind(ordered, "input_tokens"), _of_kind(ordered, "output_tokens")


def _of_kind(windows: dict[float, dict[str, object]], kind: str) -> _Distributions:
    starts, tokens, probabilities = [], [], []
    for start, window_tokens in windows.items():
        pairs = _PAIR.findall(str(window_tokens.get(kind, "")))
        weights = np.asarray([_weight(weight) for _, weight in pairs], dtype=np.float64)
        if not len(pairs) or weights.sum() <= 0:
            continue
        starts.append(start)
        tokens.append(np.asarray([int(count) for count, _ in pairs], dtype=np.int64))
        probabilities.append(weights / weights.sum())
    return _Distributions(np.asarray(starts), tuple(tokens), tuple(probabilities))


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if weight <= 1 else 0.0


def _matches_folder(path: Path) -> bool:
    return next(path.glob(TRACE_FILES), None) is not None


FORMAT = TraceFormat(
    name="servegen",
    columns="a folder with chunk-N-trace.csv and chunk-N-dataset.json",
    origin="ServeGen, github.com/alibaba/ServeGen (data/language/m-small and others)",
    matches_line=lambda _: False,
    matches_folder=_matches_folder,
    load=_load,
    windowed=True,
)
