"""The demo as a picture and as a page: demand, capacity and latency over time."""

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from demo.sample import ROLES, Sample
from demo.scene import ITL_SECONDS, TARGET_PERCENT, TTFT_SECONDS, Scene, clock_of_day
from demo.verdict import Result, in_words

mpl.use("Agg")

_MOST_TICKS = 9
_NEARLY = 0.01
"""Hours that a day may lack: its last request comes a little before its end."""
COLOURS = {
    "prefill": "#1f77b4",
    "decode": "#d95f02",
    "demand": "#444444",
    "forecast": "#7570b3",
    "outage": "#cccccc",
}


def draw(scene: Scene, samples: Sequence[Sample], path: Path) -> None:
    """Write the picture: five panels over one clock, the outage of Prometheus shaded."""
    seconds = np.array([s.seconds for s in samples])
    figure, panels = plt.subplots(
        5, 1, sharex=True, figsize=(10, 12), layout="constrained", height_ratios=(3, 3, 1.5, 2, 2)
    )
    load, capacity, nodes, latency, met = panels
    load.plot(seconds, _rate(samples), color=COLOURS["demand"], label="arrivals (5 s mean)")
    forecast = np.array([np.nan if s.forecast_q90 is None else s.forecast_q90 for s in samples])
    # A lead time that shrinks would draw a line back in time.
    ahead = np.maximum.accumulate(seconds + np.array([s.lead_seconds or 0.0 for s in samples]))
    if np.isfinite(forecast).any():
        load.plot(
            ahead, forecast, color=COLOURS["forecast"], lw=1, label="forecast's 90th percentile for this time"
        )
    load.set_ylabel("requests per second")
    for role in ROLES:
        ready = [s.roles[role].ready for s in samples]
        desired = [s.roles[role].desired for s in samples]
        capacity.step(seconds, ready, where="post", color=COLOURS[role], label=f"{role} ready")
        capacity.step(seconds, desired, where="post", color=COLOURS[role], ls=":", label=f"{role} desired")
        nodes.step(
            seconds, [s.roles[role].nodes for s in samples], where="post", color=COLOURS[role], label=f"for {role}"
        )
    capacity.set_ylabel("replicas")
    nodes.set_ylabel("nodes")
    nodes.set_ylim(bottom=0)
    _draw_attainment(met, samples)
    latency.plot(
        seconds,
        _objective_share(samples, "ttft_seconds", TTFT_SECONDS),
        color=COLOURS["prefill"],
        label=f"TTFT, {TARGET_PERCENT}th percentile",
    )
    latency.plot(
        seconds,
        _objective_share(samples, "itl_seconds", ITL_SECONDS),
        color=COLOURS["decode"],
        label=f"ITL, {TARGET_PERCENT}th percentile",
    )
    latency.axhline(1.0, color="#888888", lw=1, ls="--")
    latency.set_ylabel("latency / objective")
    latency.set_ylim(0, 3)
    for panel in panels:
        panel.axvspan(*scene.outage, color=COLOURS["outage"], alpha=0.5, lw=0)
        panel.legend(loc="upper left", fontsize="small", frameon=False)
        panel.grid(alpha=0.2)
    ticks = whole_hours(scene)
    met.set_xticks(ticks, [clock_of_day(scene, tick) for tick in ticks])
    met.set_xlim(0, scene.seconds)
    met.set_xlabel(f"time of day of {scene.source}, {scene.speed:.0f} times faster (grey: Prometheus was away)")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_attainment(panel: Axes, samples: Sequence[Sample]) -> None:
    """Draw the share of requests within both objectives beside what the objective asks for."""
    seconds = [s.seconds for s in samples]
    for name, words in (("attainment", "all so far"), ("attainment_last_minute", "last minute")):
        shares = [np.nan if (share := getattr(s, name)) is None else 100.0 * share for s in samples]
        panel.plot(seconds, shares, lw=2 if name == "attainment" else 1, label=words)
    panel.axhline(TARGET_PERCENT, color="#888888", lw=1, ls="--", label=f"objective, {TARGET_PERCENT} %")
    panel.set_ylabel("SLO met, %")
    panel.set_ylim(50, 101)


def whole_hours(scene: Scene) -> list[float]:
    """Return the seconds at which to write the time of day: whole hours where the trace has some."""
    hours = scene.seconds * scene.speed / 3600.0
    every = next((step for step in (1, 3, 6, 12, 24, 48) if hours / step <= _MOST_TICKS), 24 * 7)
    if hours < 1.0:
        return [float(tick) for tick in np.linspace(0, scene.seconds, _MOST_TICKS)]
    return [hour * 3600.0 / scene.speed for hour in range(0, int(hours + _NEARLY) + 1, every)]


def _rate(samples: Sequence[Sample]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    seconds = np.array([s.seconds for s in samples])
    arrived = np.array([float(s.arrived) for s in samples])
    before = np.interp(seconds - 5.0, seconds, arrived)
    return np.asarray((arrived - before) / np.minimum(5.0, np.maximum(seconds - seconds[0], 1.0)))


def _objective_share(
    samples: Sequence[Sample], name: str, objective: float
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = [getattr(s, name) for s in samples]
    return np.array([np.nan if value is None else value / objective for value in values])


def write_page(result: Result, picture: Path, path: Path) -> None:
    """Write one self-contained page with the verdict, the picture and the figures."""
    image = base64.b64encode(picture.read_bytes()).decode()
    verdict = html.escape(in_words(result)).replace("\n", "<br>")
    figures = html.escape(json.dumps(result.json(), indent=2))
    path.write_text(
        f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Forebay demo</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
  img {{ width: 100%; background: white; border-radius: 6px; }}
  pre {{ overflow-x: auto; }}
</style>
<h1>Forebay demo</h1>
<p>{verdict}</p>
<img alt="Demand, replicas and latency over time" src="data:image/png;base64,{image}">
<h2>Figures</h2>
<pre>{figures}</pre>
</html>
""",
        encoding="utf-8",
    )
