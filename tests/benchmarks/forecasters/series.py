"""The recorded series that forecasters are measured on: binned counts, or request logs of several days."""

import csv
import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forebay.flow.trace import FloatArray
from forebay.forecast import ONE_MINUTE, TEN_MINUTES, Resolution

SHORTEST_DAYS = 4.0
"""Scoring begins on the fourth day, so a shorter series has nothing to score."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """Requests per step, NaN in recording gaps; step 0 begins at midnight."""

    name: str
    resolution: Resolution
    counts: FloatArray

    @property
    def days(self) -> float:
        """Return the length in days."""
        return len(self.counts) / self.resolution.steps_per_day


def folder() -> Path:
    """Return where the recorded data is: FOREBAY_DATA, or ../shared/data beside the checkout."""
    default = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    return Path(os.environ.get("FOREBAY_DATA", default)) / "traces"


def load(path: Path) -> Series:
    """Read a CSV of counts per (ten) minutes, ``t_seconds,requests[,gap]``, or of arrivals, ``arrival_s``."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    if rows and "arrival_s" in rows[0]:
        minutes = np.array([float(row["arrival_s"]) for row in rows]) // 60.0
        counts = np.bincount(minutes.astype(np.int64)).astype(np.float64)
        return Series(name=name, resolution=ONE_MINUTE, counts=counts)
    if len(rows) < 2 or "requests" not in rows[0]:
        raise ValueError(f"{path} has neither the columns t_seconds, requests nor arrival_s")
    step = float(rows[1]["t_seconds"]) - float(rows[0]["t_seconds"])
    known = {60.0: ONE_MINUTE, 600.0: TEN_MINUTES}
    if step not in known:
        raise ValueError(f"{path} has steps of {step:g} s; the forecaster is measured at 60 and 600 s")
    counts = np.array([np.nan if row.get("gap", "0") == "1" else float(row["requests"]) for row in rows])
    return Series(name=name, resolution=known[step], counts=counts)


def find() -> list[Path]:
    """Return the files with counts at one or ten minutes, and the request logs."""
    if not folder().is_dir():
        return []
    return sorted(
        path
        for path in folder().iterdir()
        if path.name.removesuffix(".gz").endswith((".60s.csv", ".600s.csv", ".requests.csv"))
    )
