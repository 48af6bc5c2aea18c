"""What is read of a running operator: its own metrics, once a round, and its process."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runoperator import RunningOperator

STEPS = ("look", "observe", "decide", "act", "report")
_ROUND = "forebay_round_duration_seconds"
_LAG = "forebay_event_loop_lag_seconds_bucket"
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_OF_INTEREST = ("forebay_round", "forebay_event_loop", "forebay_telemetry", "forebay_status", "forebay_scale")
_OTHERS = ("forebay_events", "forebay_last", "forebay_watched", "forebay_decisions")


@dataclass(frozen=True, slots=True)
class Sight:
    """The operator's own metrics at one time; samples by name, then by the text of their labels."""

    samples: Mapping[str, Mapping[str, float]]

    def total(self, name: str, label: str = "") -> float:
        """Return the sum of the samples of a metric whose labels contain a text."""
        return sum(value for labels, value in self.samples.get(name, {}).items() if label in labels)

    @property
    def rounds(self) -> int:
        """Rounds that came to their end."""
        return round(self.total(f"{_ROUND}_count", 'step="all"'))

    def seconds_in(self, step: str) -> float:
        """Return the time spent in a step of all rounds; `all` for whole rounds."""
        return self.total(f"{_ROUND}_sum", f'step="{step}"')

    @property
    def writes(self) -> float:
        """Statuses, replicas and events written."""
        names = ("forebay_status_writes_total", "forebay_scale_writes_total", "forebay_events_posted_total")
        return sum(self.total(name) for name in names)

    @property
    def lag_counts(self) -> dict[float, float]:
        """Cumulative counts of the event loop's lag, by the upper edge in seconds."""
        return {float(labels.split('"')[1]): value for labels, value in self.samples.get(_LAG, {}).items()}


def look(operator: RunningOperator) -> Sight:
    """Scrape the operator.

    Raises:
        AssertionError: it does not answer; the message has the end of its log.
    """
    try:
        text = operator.metrics()
    except OSError as error:
        raise AssertionError(f"the operator does not answer ({error}):\n{operator.log()}") from error
    samples: dict[str, dict[str, float]] = defaultdict(dict)
    for line in text.splitlines():
        if line.startswith((*_OF_INTEREST, *_OTHERS)):
            match = _SAMPLE.match(line)
            if match is not None:
                samples[match.group(1)][match.group(2) or ""] = float(match.group(3))
    return Sight(samples)


@dataclass(slots=True, kw_only=True)
class Phase:
    """What was seen over some rounds."""

    name: str
    rounds: int
    round_seconds: list[float]
    cpu_seconds_per_round: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    queries_per_round: float = 0.0
    samples_per_round: float = 0.0
    writes_per_round: float = 0.0
    failed_rounds: int = 0
    lag_p99_seconds: float = 0.0
    cpu_seconds_per_minute: float = 0.0
    rss_mib: float = 0.0
    load_average: float = 0.0

    def quantile(self, share: float) -> float:
        """Return a quantile of the rounds' durations; of few rounds p99 is nearly the longest."""
        return float(np.quantile(self.round_seconds, share))

    def mean(self, step: str) -> float:
        """Return the mean duration of a step."""
        return float(np.mean(self.steps[step]))


def observe_rounds(operator: RunningOperator, pid: int, name: str, rounds: int, interval_seconds: float) -> Phase:
    """Watch `rounds` rounds, scraping once between each two, as a Prometheus would.

    Raises:
        AssertionError: no round ended for ten intervals.
    """
    phase = Phase(name=name, rounds=rounds, round_seconds=[])
    first = before = _between_rounds(operator, interval_seconds)
    began, cpu_began = time.monotonic(), cpu_seconds(pid)
    cpu_before = cpu_began
    while len(phase.round_seconds) < rounds:
        now = _after(operator, before, interval_seconds)
        count = now.rounds - before.rounds
        cpu_now = cpu_seconds(pid)
        phase.round_seconds += [(now.seconds_in("all") - before.seconds_in("all")) / count] * count
        phase.cpu_seconds_per_round += [(cpu_now - cpu_before) / count] * count
        for step in STEPS:
            phase.steps[step] += [(now.seconds_in(step) - before.seconds_in(step)) / count] * count
        before, cpu_before = now, cpu_now
    counted = before.rounds - first.rounds
    minutes = (time.monotonic() - began) / 60.0
    queries = "forebay_telemetry_query_duration_seconds_count"
    phase.queries_per_round = (before.total(queries) - first.total(queries)) / counted
    read = "forebay_telemetry_samples_total"
    phase.samples_per_round = (before.total(read) - first.total(read)) / counted
    phase.writes_per_round = (before.writes - first.writes) / counted
    failed = 'outcome="failed"'
    phase.failed_rounds = round(
        before.total("forebay_rounds_total", failed) - first.total("forebay_rounds_total", failed)
    )
    phase.lag_p99_seconds = quantile_of_counts(first.lag_counts, before.lag_counts, 0.99)
    phase.cpu_seconds_per_minute = (cpu_before - cpu_began) / minutes
    phase.rss_mib = peak_rss_mib(pid)
    phase.load_average = os.getloadavg()[0]
    return phase


def _between_rounds(operator: RunningOperator, interval_seconds: float) -> Sight:
    """Return a sight in the middle of the pause after a round, so that the next ones fall there, too."""
    start = look(operator)
    return _after(operator, start, interval_seconds)


def _after(operator: RunningOperator, before: Sight, interval_seconds: float) -> Sight:
    """Return a sight after at least one more round."""
    last = before.total("forebay_last_round_timestamp_seconds")
    deadline = time.monotonic() + 10.0 * interval_seconds
    time.sleep(max(0.0, last + 1.5 * interval_seconds - time.time()))
    while time.monotonic() < deadline:
        now = look(operator)
        if now.rounds > before.rounds:
            return now
        time.sleep(interval_seconds / 4)
    raise AssertionError(f"no round ended for {10.0 * interval_seconds:.0f} s:\n{operator.log()}")


def quantile_of_counts(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float:
    """Return the quantile of what was counted between two looks at a histogram, interpolated within its bucket."""
    counts = {edge: after[edge] - before.get(edge, 0.0) for edge in sorted(after)}
    wanted = share * max(counts.values(), default=0.0)
    low, below = 0.0, 0.0
    for edge, count in counts.items():
        if count >= wanted:
            inside = count - below
            return low if edge == float("inf") or inside <= 0 else low + (edge - low) * (wanted - below) / inside
        low, below = edge, count
    return float("nan")


def wait_until(is_so: Callable[[], bool], *, seconds: float, describe: str, pause_seconds: float = 0.5) -> float:
    """Wait for a condition and return how long that took.

    Raises:
        AssertionError: it took longer than `seconds`.
    """
    started = time.monotonic()
    while not is_so():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"waited {seconds:.0f} s for {describe}")
        time.sleep(pause_seconds)
    return time.monotonic() - started


def pid_of(arguments: Sequence[str]) -> int:
    """Return the process whose command line has all these arguments."""
    wanted = [argument.encode() for argument in arguments]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                given = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if all(argument in given for argument in wanted):
                return int(entry.name)
    raise AssertionError(f"no process has the arguments {arguments}")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_rss_mib(pid: int) -> float:
    """Return the most memory that a process ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024.0
