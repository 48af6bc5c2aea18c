"""The whole operator over thousands of pools: a real API server, a synthetic Prometheus of that size, two loads.

    python -m tests.benchmarks.bench_operator --pools 2000 --rounds 20

Each pool has a prefill and a decode Deployment with one Ready pod each. The operator runs as it does in
production, under its own service account, with its default settings but for `--history` and a longer lease; it
only recommends. With `--days`, it finds forecasters that have seen so many days in its state directory. After it
has settled, rounds are watched under constant traffic, in which nothing may be written, and under traffic that
breathes. Its CPU time is its own process's; Prometheus and the API server are others.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import pytest

import devcluster
from devcluster.ports import free_ports
from forebay.runtime.statefiles import StateFiles
from runoperator import NAMESPACE, SERVICE_ACCOUNT, RunningOperator, start_operator
from tests.benchmarks.operator_fleet.fleet import create_fleet, namespace_of, shared_objects, stop_controllers
from tests.benchmarks.operator_fleet.inprocess import InProcess
from tests.benchmarks.operator_fleet.mature import ROUNDS_BEFORE_AGEING, age
from tests.benchmarks.operator_fleet.watch import (
    STEPS,
    Phase,
    cpu_seconds,
    look,
    observe_rounds,
    pid_of,
    wait_until,
)

ROOT = Path(__file__).parents[2]
_INTERVAL_SECONDS = 15.0
_SETTLE_SECONDS = 1800.0
_START_SECONDS = 600.0
"""Reading thousands of objects into the caches beside other work takes minutes."""
_SCRAPE_SECONDS = 60.0
#: More than the four rounds for which drifting figures may be kept back (`--status-drift`).
_QUIET_ROUNDS = 5
_AGED_ROUNDS = 12
_SWING = 0.3


@dataclass(slots=True, kw_only=True)
class Result:
    """What was measured of one fleet."""

    pools: int
    set_up_seconds: float
    ready_seconds: float
    """From the operator's start until its caches were complete."""
    first_round_seconds: float
    """Until a round had decided on every pool and written its status."""
    first_round_cpu_seconds: float
    settled_rounds: int = 0
    """Rounds until nothing was written any more, or that were let pass."""
    phases: list[Phase] = field(default_factory=list)
    prometheus_cpu_seconds_per_round: float = 0.0


def run(pools: int, rounds: int, *, history: str, swing: float, days: int) -> Result:
    """Set a fleet up, start the operator and measure it.

    Raises:
        TypeError: the cluster is not a local one.
    """
    with devcluster.open(devcluster.Choice("local", "a benchmark needs a cluster of its own")) as cluster:
        if not isinstance(cluster, devcluster.LocalCluster):
            raise TypeError("this benchmark stops the cluster's controllers, which only a local one allows")
        set_up = _set_up(cluster, pools)
        kubeconfig = cluster.kubeconfig_for(NAMESPACE, SERVICE_ACCOUNT)
        with synthetic_prometheus(pools) as (url, prometheus_pid), saved_pasts(pools, days) as state:
            started = time.monotonic()
            operator = start_operator(
                cluster,
                url,
                kubeconfig=kubeconfig,
                options=_production(history) | state,
                wait=False,
                start_seconds=_START_SECONDS,
                patience_seconds=_SCRAPE_SECONDS,
            )
            pid = pid_of([f"--identity={operator.identity}", f"--prometheus-url={url}"])
            result = _first_rounds(operator, pid, pools, set_up, started)
            result.settled_rounds = _pass_rounds(operator, _AGED_ROUNDS) if days else _settle(operator)
            served = cpu_seconds(prometheus_pid)
            result.phases.append(observe_rounds(operator, pid, "constant", rounds, _INTERVAL_SECONDS))
            show([result])
            result.prometheus_cpu_seconds_per_round = (cpu_seconds(prometheus_pid) - served) / rounds
            if swing:
                with urlopen(f"{url}/-/swing?share={swing}", timeout=5.0):  # noqa: S310  (loopback)
                    result.phases.append(observe_rounds(operator, pid, "breathing", rounds, _INTERVAL_SECONDS))
            return result


def _production(history: str) -> dict[str, str]:
    """Return the defaults of `forebay run`, where those of the tests are quicker.

    But for the lease, which is held ten times as long: an API server that gets no processor for ten seconds,
    because the machine does other work, would end the operator and with it the measurement.
    """
    return {
        "interval": f"{_INTERVAL_SECONDS:g}s",
        "prometheus-settle": "2s",
        "lease-duration": "150s",
        "renew-deadline": "100s",
        "retry-period": "2s",
        "status-drift": "60s",
        "log-format": "json",
        "history": history,
    }


@contextmanager
def saved_pasts(pools: int, days: int) -> Iterator[dict[str, str]]:
    """Yield the option with which the operator finds memories of a fleet that has run for ``days``; 0: none."""
    if not days:
        yield {}
        return
    with TemporaryDirectory(prefix="forebay-state-") as directory:
        asyncio.run(_save_pasts(StateFiles(Path(directory)), pools, days))
        yield {"state-directory": directory}


async def _save_pasts(files: StateFiles, pools: int, days: int) -> None:
    fleet = InProcess(pools, now_seconds=time.time())
    for _ in range(ROUNDS_BEFORE_AGEING):
        await fleet.round()
    age(fleet, days)
    state = fleet.loop._decider._state
    files.save(state, state.keys())


def _set_up(cluster: devcluster.LocalCluster, pools: int) -> float:
    """Create the fleet and return how long that took."""
    started = time.monotonic()
    rendered = cluster.kubectl("kustomize", str(ROOT / "manifests" / "install"))
    cluster.kubectl("apply", "--server-side", "-f", "-", input=rendered)
    for crd in ("inferencepools", "gpunodepools", "servingprofiles", "scalingpolicies", "fleetpolicies"):
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{crd}.forebay.io")
    cluster.apply(shared_objects())
    for number in range(min(pools, 40)):
        where = ("serviceaccount/default", "-n", namespace_of(number))
        cluster.kubectl("wait", "--for=create", *where, "--timeout=60s")
    stop_controllers(cluster)
    asyncio.run(create_fleet(cluster.kubeconfig, pools))
    return time.monotonic() - started


@contextmanager
def synthetic_prometheus(pools: int) -> Iterator[tuple[str, int]]:
    """Run the synthetic Prometheus; yields its address and its pid."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "tests.benchmarks.operator_fleet.prometheus", str(port), str(pools)]
    with subprocess.Popen(argv, cwd=ROOT) as process:
        try:
            wait_until(lambda: _answers(f"{url}/-/swing?share=0"), seconds=30.0, describe="the Prometheus")
            yield url, process.pid
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1.0):  # noqa: S310  (loopback)
            return True
    except OSError:
        return False


def _first_rounds(operator: RunningOperator, pid: int, pools: int, set_up: float, started: float) -> Result:
    """Wait until every pool was decided on and told of it."""
    operator.component.wait_ready()
    ready = time.monotonic() - started
    print(f"ready after {ready:.0f} s, set-up took {set_up:.0f} s", flush=True)
    kind = 'kind="inferencepools"'
    wait_until(
        lambda: look(operator).total("forebay_status_writes_total", kind) >= pools,
        seconds=_SETTLE_SECONDS,
        describe="a status of every pool",
        pause_seconds=2.0,
    )
    first, cpu = time.monotonic() - started, cpu_seconds(pid)
    print(f"a status of every pool after {first:.0f} s, {cpu:.0f} CPU s", flush=True)
    return Result(
        pools=pools,
        set_up_seconds=set_up,
        ready_seconds=ready,
        first_round_seconds=first,
        first_round_cpu_seconds=cpu,
    )


def _pass_rounds(operator: RunningOperator, rounds: int) -> int:
    """Let so many rounds pass: forecasters with a past learn on, so that there are always figures to write."""
    first = look(operator).rounds
    while (now := look(operator).rounds) < first + rounds:
        time.sleep(_INTERVAL_SECONDS)
    return now - first


def _settle(operator: RunningOperator) -> int:
    """Wait until some rounds in a row wrote nothing; return the number of rounds before."""
    quiet, before = 0, look(operator)
    deadline = time.monotonic() + _SETTLE_SECONDS
    while quiet < _QUIET_ROUNDS:
        if time.monotonic() > deadline:
            raise AssertionError(f"the fleet did not settle:\n{operator.log()}")
        time.sleep(_INTERVAL_SECONDS)
        now = look(operator)
        print(f"  settling: {now.rounds} rounds, {now.writes - before.writes:.0f} writes", flush=True)
        if now.rounds > before.rounds:
            quiet = quiet + 1 if now.writes == before.writes else 0
            before = now
    return before.rounds - _QUIET_ROUNDS


def show(results: Sequence[Result]) -> None:
    """Print tables as docs/benchmarks/operator.md has them."""
    print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs\n")
    print("| pools | set-up s | caches complete s | every pool decided and reported s | CPU s until then |")
    print("|---|---|---|---|---|")
    for each in results:
        print(
            f"| {each.pools} | {each.set_up_seconds:.0f} | {each.ready_seconds:.1f} | "
            f"{each.first_round_seconds:.1f} | {each.first_round_cpu_seconds:.1f} |"
        )
    print(
        "\n| pools | traffic | rounds | p50 s | p99 s | max s | CPU s/round | its max | CPU s/min | peak RSS MiB "
        "| queries | samples | writes/round | lag p99 ms | load |"
    )
    print("|" + "---|" * 15)
    for each in results:
        for phase in each.phases:
            cpu = sum(phase.cpu_seconds_per_round) / len(phase.cpu_seconds_per_round)
            print(
                f"| {each.pools} | {phase.name} | {len(phase.round_seconds)} | {phase.quantile(0.5):.2f} | "
                f"{phase.quantile(0.99):.2f} | {max(phase.round_seconds):.2f} | {cpu:.2f} | "
                f"{max(phase.cpu_seconds_per_round):.2f} | "
                f"{phase.cpu_seconds_per_minute:.1f} | {phase.rss_mib:.0f} | {phase.queries_per_round:.1f} | "
                f"{phase.samples_per_round:.0f} | {phase.writes_per_round:.2f} | "
                f"{1000 * phase.lag_p99_seconds:.0f} | {phase.load_average:.1f} |"
            )
    print("\n| pools | traffic | " + " | ".join(f"{step} s" for step in STEPS) + " |")
    print("|---|---|" + "---|" * len(STEPS))
    for each in results:
        for phase in each.phases:
            means = " | ".join(f"{phase.mean(step):.2f}" for step in STEPS)
            print(f"| {each.pools} | {phase.name} | {means} |")
    if any(phase.failed_rounds for each in results for phase in each.phases):
        print("\nsome rounds failed")


def as_json(results: Sequence[Result]) -> str:
    """Return all figures."""
    return json.dumps(
        [
            {
                "pools": each.pools,
                "set_up_seconds": each.set_up_seconds,
                "ready_seconds": each.ready_seconds,
                "first_round_seconds": each.first_round_seconds,
                "first_round_cpu_seconds": each.first_round_cpu_seconds,
                "settled_rounds": each.settled_rounds,
                "prometheus_cpu_seconds_per_round": each.prometheus_cpu_seconds_per_round,
                "phases": [_phase_json(phase) for phase in each.phases],
            }
            for each in results
        ],
        indent=1,
    )


def _phase_json(phase: Phase) -> dict[str, object]:
    return {
        "traffic": phase.name,
        "round_seconds": phase.round_seconds,
        "cpu_seconds_per_round": phase.cpu_seconds_per_round,
        "steps": {step: phase.mean(step) for step in STEPS},
        "queries_per_round": phase.queries_per_round,
        "samples_per_round": phase.samples_per_round,
        "writes_per_round": phase.writes_per_round,
        "failed_rounds": phase.failed_rounds,
        "event_loop_lag_p99_seconds": phase.lag_p99_seconds,
        "cpu_seconds_per_minute": phase.cpu_seconds_per_minute,
        "peak_rss_mib": phase.rss_mib,
        "load_average": phase.load_average,
    }


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("pools", [100, 2000])
def test_rounds_of_a_large_fleet(pools: int) -> None:
    """Prints the figures; asserts only that rounds end well and that constant traffic causes no write."""
    result = run(pools, 20, history="0s", swing=_SWING, days=0)
    show([result])
    assert all(phase.failed_rounds == 0 for phase in result.phases)
    assert result.phases[0].writes_per_round == 0


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pools", type=int, nargs="+", default=[2000], help="sizes of fleets, one after the other"
    )
    parser.add_argument("--rounds", type=int, default=20, help="rounds to watch per kind of traffic")
    parser.add_argument("--history", default="0s", help="`forebay run --history`")
    parser.add_argument("--swing", type=float, default=_SWING, help="amplitude of the breathing traffic; 0: none")
    parser.add_argument("--days", type=int, default=0, help="age of the forecasters when the operator starts")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    options = parser.parse_args()
    results = [
        run(pools, options.rounds, history=options.history, swing=options.swing, days=options.days)
        for pools in options.pools
    ]
    show(results)
    if options.json is not None:
        options.json.write_text(as_json(results))


if __name__ == "__main__":
    main()
