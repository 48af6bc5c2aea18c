"""Measure the forecaster beside what others use: `python -m tests.benchmarks.bench_forecast [FILE...]`.

Per series and horizon: pinball loss at .9 and .99 relative to the last value plus the window of its recent errors
(below 1 is better), coverage of the .9 and .99 quantiles, mean q99 over mean rate, CPU per step. Scored at
every step from the fourth day on; recording gaps are never scored. One set of defaults for all series.
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast import ONE_MINUTE
from forebay.forecast.resolution import QUANTILE_LEVELS
from tests.benchmarks.forecasters import libraries, own, peers
from tests.benchmarks.forecasters.series import SHORTEST_DAYS, Series, find, folder, load

HORIZONS = {60: (5, 15), 600: (1, 2)}
"""Steps ahead by seconds per step."""
WARM_UP_DAYS = 3
BARS = {(60, 5): (0.80, 0.68), (60, 15): (0.84, 0.78)}
"""Pooled relative loss at .9 and .99 to stay below."""
COVERAGE_BAR = (0.985, 0.995)
CPU_BAR_MILLISECONDS = 1.0
STATE_BAR_KILOBYTES = 300.0
OWN = "Forebay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One forecaster on one series at one horizon."""

    ratio90: float
    """Loss at .9 over that of persistence at the same origins."""
    ratio99: float
    coverage90: float
    coverage99: float
    q99_over_mean: float


def score(series: Series, horizon: int, quantiles: FloatArray, baseline: FloatArray) -> Score:
    """Score ``quantiles`` (origins, levels), counts per step, at the targets that were recorded."""
    start = WARM_UP_DAYS * series.resolution.steps_per_day
    issued, target = quantiles[start:-horizon], series.counts[start + horizon :]
    known = np.isfinite(target) & np.isfinite(series.counts[start:-horizon]) & np.isfinite(issued).all(axis=1)
    issued, target = issued[known], target[known]
    ratio = loss(target, issued) / loss(target, baseline[start:-horizon][known])
    hits = (target[:, None] <= issued).mean(axis=0)
    return Score(
        ratio90=float(ratio[1]),
        ratio99=float(ratio[2]),
        coverage90=float(hits[1]),
        coverage99=float(hits[2]),
        q99_over_mean=float(issued[:, 2].mean() / target.mean()),
    )


def loss(target: FloatArray, issued: FloatArray) -> FloatArray:
    """Return the mean quantile loss at each level."""
    error = target[:, None] - issued
    levels = np.array(QUANTILE_LEVELS)
    return np.asarray(np.maximum(levels * error, (levels - 1.0) * error).mean(axis=0))


def filled(counts: FloatArray) -> FloatArray:
    """Return ``counts`` with gaps interpolated: the peers know no gaps."""
    known = np.flatnonzero(np.isfinite(counts))
    return np.interp(np.arange(len(counts)), known, counts[known])


def measure(series: Series) -> dict[tuple[int, str], tuple[Score, float]]:
    """Return score and CPU milliseconds per step of every forecaster at every horizon."""
    step = series.resolution.step_seconds
    horizons = HORIZONS[step]
    mine = own.run(series, horizons)
    print(
        f"\n{series.name}: {series.days:.1f} days at {step} s, mean {np.nanmean(series.counts):.0f} per step; "
        f"{OWN}: {mine.update_milliseconds:.2f} ms CPU per step for {len(horizons)} horizons, "
        f"refits {mine.refit_seconds_per_day:.2f} s CPU per day, state {mine.state_kilobytes:.0f} KB"
    )
    found: dict[tuple[int, str], tuple[Score, float]] = {}
    others = dict(peers.PEERS)
    if libraries.available():
        others["AutoETS (statsforecast)"] = libraries.auto_ets
    counts = filled(series.counts)
    for horizon in horizons:
        baseline = peers.persistence(counts, series.resolution, horizon)
        found[horizon, OWN] = (score(series, horizon, mine.quantiles[horizon], baseline), mine.update_milliseconds)
        for name, forecaster in others.items():
            began = time.process_time()
            quantiles = forecaster(counts, series.resolution, horizon)
            forecasts = max(1, int(np.isfinite(quantiles[:, 2]).sum()))
            cpu = 1000.0 * (time.process_time() - began) / forecasts
            found[horizon, name] = (score(series, horizon, quantiles, baseline), cpu)
    if mine.state_kilobytes > STATE_BAR_KILOBYTES:
        print(f"  MISSED: state above {STATE_BAR_KILOBYTES:.0f} KB")
    if series.resolution is ONE_MINUTE and mine.update_milliseconds > CPU_BAR_MILLISECONDS:
        print(f"  MISSED: CPU above {CPU_BAR_MILLISECONDS:g} ms (this machine may be busy)")
    return found


def show(series: Series, found: dict[tuple[int, str], tuple[Score, float]]) -> None:
    """Print the table of one series."""
    step = series.resolution.step_seconds
    for horizon in HORIZONS[step]:
        print(f"  {horizon * step // 60} min ahead{'':24} .90    .99   cov.90  cov.99  q99/mean   ms each")
        for (at, name), (one, cpu) in found.items():
            if at != horizon:
                continue
            print(
                f"    {name:36}{one.ratio90:5.2f}  {one.ratio99:5.2f}"
                f"   {one.coverage90:.3f}   {one.coverage99:.4f}   {one.q99_over_mean:7.2f}   {cpu:7.3f}"
            )


def pool(results: list[tuple[Series, dict[tuple[int, str], tuple[Score, float]]]]) -> None:
    """Print geometric means over the series of one step, and whether the bars are met."""
    ratios: dict[tuple[int, int, str], list[tuple[float, float]]] = defaultdict(list)
    outside = []
    for series, found in results:
        step = series.resolution.step_seconds
        for (horizon, name), (one, _cpu) in found.items():
            ratios[step, horizon, name].append((one.ratio90, one.ratio99))
            if name == OWN and not COVERAGE_BAR[0] <= one.coverage99 <= COVERAGE_BAR[1]:
                outside.append(f"{series.name} {horizon * step // 60} min: {one.coverage99:.4f}")
    print("\npooled (geometric mean over series)      .90    .99")
    for (step, horizon, name), values in sorted(ratios.items(), key=lambda item: item[0][:2]):
        mean90, mean99 = np.exp(np.log(np.array(values)).mean(axis=0))
        verdict = ""
        bar = BARS.get((step, horizon))
        if name == OWN and bar is not None:
            met = mean90 <= bar[0], mean99 <= bar[1]
            verdict = "   ".join(
                f"{level} bar {limit:.2f}: {'met' if ok else 'MISSED'}"
                for level, limit, ok in zip((".90", ".99"), bar, met, strict=True)
            )
        print(f"  {step:3d} s, {horizon * step // 60:2d} min, {name:34}{mean90:5.2f}  {mean99:5.2f}   {verdict}")
    print(f"coverage of q99 outside {COVERAGE_BAR}: {', '.join(outside) if outside else 'none'}")


def main() -> int:
    """Measure every series that is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="series to measure; default: those of FOREBAY_DATA")
    paths = parser.parse_args().files or find()
    if not paths:
        print(f"skipped: no recorded series in {folder()} (set FOREBAY_DATA)")
        return 0
    results = []
    for path in paths:
        series = load(path)
        if series.days < SHORTEST_DAYS:
            print(f"skipped {series.name}: {series.days * 24:.1f} hours, and scoring begins on the fourth day")
            continue
        found = measure(series)
        show(series, found)
        results.append((series, found))
    if results:
        pool(results)
    print(f"\nload average {os.getloadavg()[0]:.1f}; CPU times are of this process")
    return 0


if __name__ == "__main__":
    sys.exit(main())
