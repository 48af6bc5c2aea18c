"""The operator over 2,000 pools (4,000 roles) on a real API server, with a synthetic Prometheus of that size.

Prints p50 and p99 of a round, CPU seconds per minute, RSS, queries and writes per idle round, and the lag of the
event loop: ``python -m tests.benchmarks.bench_operator --pools 2000 --minutes 3``.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import devcluster
from devcluster.ports import free_ports
from devcluster.rest import Json
from runoperator import RunningOperator, start_operator

ROOT = Path(__file__).parents[2]
NAMESPACE = "bench"
STEPS = ("look", "observe", "decide", "act", "report", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was measured."""

    pools: int
    rounds: int
    p50_seconds: float
    p99_seconds: float
    mean_seconds: dict[str, float]
    cpu_seconds_per_minute: float
    rss_mib: float
    queries_per_round: float
    writes_per_round: float
    lag_p99_seconds: float
    failed_rounds: float


def pool(number: int) -> list[tuple[str, Json]]:
    """Return a pool with its Deployments and one Ready pod of each role, with the collections they belong to."""
    apps = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    found: list[tuple[str, Json]] = []
    roles = {}
    for role in ("prefill", "decode"):
        name = f"pool-{number}-{role}"
        labels = {"app": name}
        container = {"name": "engine", "image": "vllm", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        spec = {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        }
        found.append(
            (apps, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})
        )
        found.append(
            (
                f"/api/v1/namespaces/{NAMESPACE}/pods",
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": f"{name}-5b9c7d8f6-x2x4z", "labels": labels},
                    "spec": {"nodeName": "nowhere", "containers": [container]},
                },
            )
        )
        variant = {"target": {"kind": "Deployment", "name": name}, "maxReplicas": 8, "startUp": "60s"}
        roles[role] = {"variants": [variant]}
    pool_spec = {"slo": {"ttft": "1s", "itl": "50ms"}, "telemetry": {"engine": "vllm"}, "roles": roles}
    resource = {
        "apiVersion": "forebay.io/v1alpha1",
        "kind": "InferencePool",
        "metadata": {"name": f"pool-{number}"},
        "spec": pool_spec,
    }
    found.append((f"/apis/forebay.io/v1alpha1/namespaces/{NAMESPACE}/inferencepools", resource))
    return found


def fill(cluster: devcluster.Cluster, pools: int) -> None:
    """Create the fleet; no controller runs, so that nothing else uses the machine."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("PodScheduled", "Ready")
    ]

    def work(numbers: range) -> None:
        rest = cluster.rest()
        for number in numbers:
            for path, body in pool(number):
                made = rest.create(path, body)
                if path.endswith("/pods"):
                    name = made["metadata"]["name"]  # type: ignore[index]
                    rest.patch(f"{path}/{name}/status", {"status": {"phase": "Running", "conditions": conditions}})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, [range(start, pools, 4) for start in range(4)]))


def measure(operator: RunningOperator, pid: int, pools: int, seconds: float) -> Result:
    """Watch an operator that has settled for a while."""
    before, cpu_before, started = operator.metrics(), cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    after, minutes = operator.metrics(), (time.monotonic() - started) / 60
    cpu = (cpu_seconds(pid) - cpu_before) / minutes
    rounds = growth(before, after, 'forebay_round_duration_seconds_count{step="all"}')
    writes = growth(before, after, "forebay_status_writes_total") + growth(
        before, after, "forebay_scale_writes_total"
    )
    return Result(
        pools=pools,
        rounds=round(rounds),
        p50_seconds=quantile(before, after, 'forebay_round_duration_seconds_bucket{step="all"', 0.5),
        p99_seconds=quantile(before, after, 'forebay_round_duration_seconds_bucket{step="all"', 0.99),
        mean_seconds={
            step: growth(before, after, f'forebay_round_duration_seconds_sum{{step="{step}"}}') / max(1, rounds)
            for step in STEPS
        },
        cpu_seconds_per_minute=cpu,
        rss_mib=rss_mib(pid),
        queries_per_round=growth(before, after, "forebay_telemetry_query_duration_seconds_count") / max(1, rounds),
        writes_per_round=writes / max(1, rounds),
        lag_p99_seconds=quantile(before, after, "forebay_event_loop_lag_seconds_bucket{", 0.99),
        failed_rounds=growth(before, after, 'forebay_rounds_total{outcome="failed"}'),
    )


def growth(before: str, after: str, prefix: str) -> float:
    """Return how much all samples whose line begins so have grown together."""
    return total(after, prefix) - total(before, prefix)


def total(text: str, prefix: str) -> float:
    """Return the sum of all samples whose line begins so."""
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(prefix))


def quantile(before: str, after: str, prefix: str, share: float) -> float:
    """Return the upper edge of the bucket that holds a quantile: an upper bound of it."""
    old, new = buckets(before, prefix), buckets(after, prefix)
    counts = {edge: new[edge] - old.get(edge, 0.0) for edge in sorted(new)}
    everything = max(counts.values(), default=0.0)
    return next((edge for edge, count in counts.items() if count >= share * everything), float("inf"))


def buckets(text: str, prefix: str) -> dict[float, float]:
    """Return cumulative counts by upper edge."""
    lines = [line for line in text.splitlines() if line.startswith(prefix)]
    return {float(line.split('le="')[1].split('"')[0]): float(line.rsplit(" ", 1)[1]) for line in lines}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def run(pools: int, seconds: float) -> Result:
    """Set up, wait until the fleet has settled, and measure."""
    with devcluster.open(devcluster.Choice("local", "a benchmark needs a cluster of its own")) as cluster:
        if not isinstance(cluster, devcluster.LocalCluster):
            raise TypeError("this benchmark stops the cluster's controllers, which only a local one allows")
        for path in sorted((ROOT / "crds").glob("*.yaml")):
            applied, *_ = cluster.apply(path).split()
            cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", applied)
        cluster.apply(ROOT / "manifests" / "install")
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", NAMESPACE, "--timeout=30s")
        kubeconfig = cluster.kubeconfig_for("forebay-system", "forebay")
        for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
            cluster.components[name].kill()
        started = time.monotonic()
        fill(cluster, pools)
        print(f"{pools} pools, {2 * pools} Deployments and pods created in {time.monotonic() - started:.0f} s")
        (port,) = free_ports(1)
        script = str(Path(__file__).with_name("synthetic_prometheus.py"))
        cluster.host.start("synthetic", [sys.executable, script, str(port), NAMESPACE, str(pools)])
        options = {"interval": "15s", "history": "0s", "status-drift": "60s", "prometheus-settle": "2s"}
        operator = start_operator(
            cluster, f"http://127.0.0.1:{port}", kubeconfig=kubeconfig, options=options, wait=False
        )
        pid = pid_of(operator.identity)
        operator.component.wait_ready()
        settle(operator, pools)
        return measure(operator, pid, pools, seconds)


def settle(operator: RunningOperator, pools: int) -> None:
    """Wait until every pool has a status and two rounds wrote nothing."""
    deadline = time.monotonic() + 240
    quiet = 0
    while quiet < 2:
        if time.monotonic() > deadline:
            raise AssertionError(f"the fleet did not settle:\n{operator.log()}")
        before = operator.metric("forebay_status_writes_total")
        time.sleep(16.0)
        after = operator.metric("forebay_status_writes_total")
        quiet = quiet + 1 if after == before >= pools else 0


def pid_of(identity: str) -> int:
    """Return the process whose command line has this identity."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and f"--identity={identity}".encode() in (entry / "cmdline").read_bytes():
            return int(entry.name)
    raise AssertionError(f"no process has --identity={identity}")


def show(result: Result) -> None:
    """Print the figures."""
    steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in result.mean_seconds.items())
    print(
        f"pools {result.pools}, rounds {result.rounds}, failed {result.failed_rounds:.0f}\n"
        f"round p50 <= {result.p50_seconds:g} s, p99 <= {result.p99_seconds:g} s (upper edges of buckets)\n"
        f"mean seconds per step: {steps}\n"
        f"CPU {result.cpu_seconds_per_minute:.1f} s/min, RSS {result.rss_mib:.0f} MiB\n"
        f"queries per round {result.queries_per_round:.1f}, writes per idle round {result.writes_per_round:.2f}\n"
        f"event-loop lag p99 <= {result.lag_p99_seconds:g} s"
    )


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_two_thousand_pools() -> None:
    """Prints the figures; asserts only that rounds end well and an idle fleet causes no write."""
    result = run(int(os.environ.get("FOREBAY_BENCH_POOLS", "2000")), 180.0)
    show(result)
    assert result.failed_rounds == 0
    assert result.writes_per_round == 0


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=3.0)
    options = parser.parse_args()
    show(run(options.pools, 60 * options.minutes))


if __name__ == "__main__":
    main()
