"""The operator's loop for hours of its own time, back to back: does memory stay bounded, and do writes end?

    python -m tests.benchmarks.bench_soak --pools 2000 --rounds 240
    python -m tests.benchmarks.bench_soak --pools 2000 --rounds 24 --every 4 --days 8

With `--days`, forecasters are given a past after the first rounds, so that memory is that of a fleet that has run
for so long. One process, no API server and no network: see `operator_fleet.inprocess`. CPU is the process's own,
less what was spent on making up the answers of the Prometheus.
"""

import argparse
import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.operator_fleet.inprocess import InProcess
from tests.benchmarks.operator_fleet.mature import ROUNDS_BEFORE_AGEING, age
from tests.benchmarks.operator_fleet.watch import STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Some rounds: what they cost each, and where memory stood at their end."""

    rounds: int
    cpu_seconds: float
    longest_seconds: float
    steps: dict[str, float]
    writes: int
    queries: float
    resident_mib: float


async def soak(fleet: InProcess, rounds: int, every: int) -> list[Stretch]:
    """Run ``rounds`` rounds, and print and return a line per ``every`` of them."""
    found = []
    print(
        "| rounds | CPU s/round | longest CPU s | "
        + " | ".join(f"{s} s" for s in STEPS)
        + " | writes | queries/round | RSS MiB |"
    )
    print("|---" * (6 + len(STEPS)) + "|")
    for begun in range(0, rounds, every):
        one = await stretch(fleet, min(every, rounds - begun), begun)
        found.append(one)
        steps = " | ".join(f"{one.steps[step]:.2f}" for step in STEPS)
        print(
            f"| {one.rounds} | {one.cpu_seconds:.2f} | {one.longest_seconds:.2f} | {steps} | {one.writes} | "
            f"{one.queries:.1f} | {one.resident_mib:.0f} |",
            flush=True,
        )
    return found


async def stretch(fleet: InProcess, rounds: int, begun: int) -> Stretch:
    """Run some rounds and say what they cost."""
    before = {step: fleet.seconds_in(step) for step in STEPS}
    asked, writes, cpu = fleet.client.asked, 0, []
    for _ in range(rounds):
        began = time.process_time() - fleet.client.rendering_seconds
        writes += await fleet.round()
        cpu.append(time.process_time() - fleet.client.rendering_seconds - began)
    return Stretch(
        rounds=begun + rounds,
        cpu_seconds=sum(cpu) / rounds,
        longest_seconds=max(cpu),
        steps={step: (fleet.seconds_in(step) - before[step]) / rounds for step in STEPS},
        writes=writes,
        queries=(fleet.client.asked - asked) / rounds,
        resident_mib=resident_mib(),
    )


def resident_mib() -> float:
    """Return this process's resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def _run(fleet: InProcess, options: argparse.Namespace) -> None:
    if options.days:
        for _ in range(ROUNDS_BEFORE_AGEING):
            await fleet.round()
        print(f"{resident_mib():.0f} MiB after {ROUNDS_BEFORE_AGEING} rounds, without a past")
        age(fleet, options.days)
        print(f"{resident_mib():.0f} MiB with a past of {options.days} days")
    await soak(fleet, options.rounds, options.every)


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=240, help="rounds of 15 s of the operator's own time")
    parser.add_argument("--every", type=int, default=20, help="rounds per line")
    parser.add_argument("--days", type=int, default=0, help="age of the forecasters when the fleet begins")
    parser.add_argument("--swing", type=float, default=0.0, help="amplitude of breathing traffic; 0: constant")
    options = parser.parse_args()
    print(f"{resident_mib():.0f} MiB after imports")
    fleet = InProcess(options.pools)
    print(f"{resident_mib():.0f} MiB with all records of {options.pools} pools")
    fleet.client.answers.swing = options.swing
    asyncio.run(_run(fleet, options))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
