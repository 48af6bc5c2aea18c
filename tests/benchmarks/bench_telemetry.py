"""What a round costs the operator's own process: 2,000 pools with 4,000 workloads, answers of that size.

    make bench     or     pytest tests/benchmarks/bench_telemetry.py -m benchmark -s

The answers are rendered before the clock starts; what is measured is reading the JSON, joining it to the pools and
putting their telemetry together, in one thread. The budget is well under 1.5 s of CPU time a round.
"""

import gc
import json
import statistics
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from forebay.flow.fleet import PoolKey, Role, Slo
from forebay.telemetry.prometheus import PrometheusTelemetry
from forebay.telemetry.query.dialect import built_in
from forebay.telemetry.query.expressions import Expressions
from forebay.telemetry.query.grouping import SharedQueries
from forebay.telemetry.settings import PrometheusSettings
from forebay.telemetry.source import PoolTarget, WorkloadTarget
from forebay.telemetry.transport.client import Read
from tests.keys import decode, prefill

P, D = prefill("p"), decode("d")

POOLS = 2_000
ROUNDS = 6
BUDGET_SECONDS = 1.5
TTFT_EDGES = ("0.5", "0.75", "1.0", "2.5", "+Inf")
ITL_EDGES = ("0.025", "0.05", "0.1", "+Inf")
LENGTH_EDGES = ("10.0", "50.0", "100.0", "200.0", "500.0", "1000.0", "2000.0", "5000.0", "10000.0", "+Inf")


@dataclass
class RenderedClient:
    """Answers every question about every workload with a constant that was rendered as JSON beforehand."""

    workloads: list[tuple[str, str]]
    rendered: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    octets: int = 0
    samples: int = 0

    async def instant(self, query: str, at_seconds: float, *, kind: str, read: Callable[[object], Read]) -> Read:
        self.asked[kind] += 1
        if kind == "facts":
            return read(self._facts(query))
        edges = self._edges(kind)
        key = ("instant", edges)
        if key not in self.rendered:
            self.rendered[key] = json.dumps(
                [
                    {
                        "metric": {"namespace": namespace, "forebay_workload": name}
                        | ({"le": edge} if edge else {}),
                        "value": [at_seconds, str(10 + index)],
                    }
                    for namespace, name in self.workloads
                    for index, edge in enumerate(edges)
                ]
            ).encode()
        return read(self._decoded(self.rendered[key]))

    async def range(
        self,
        query: str,
        start_seconds: int,
        end_seconds: int,
        step_seconds: int,
        *,
        kind: str,
        read: Callable[[object], Read],
    ) -> Read:
        self.asked[kind] += 1
        if kind.startswith("born"):
            return read([])
        steps = range(start_seconds, end_seconds + 1, step_seconds)
        key = ("range", kind == "newest", tuple(steps))
        if key not in self.rendered:
            self.rendered[key] = json.dumps(
                [
                    {
                        "metric": {"namespace": namespace, "forebay_workload": name},
                        "values": [[at, str(at - 1.5 if kind == "newest" else 12)] for at in steps],
                    }
                    for namespace, name in self.workloads
                ]
            ).encode()
        return read(self._decoded(self.rendered[key]))

    async def close(self) -> None:
        """Nothing is open."""

    def _decoded(self, body: bytes) -> object:
        self.octets += len(body)
        answer: list[object] = json.loads(body)
        self.samples += len(answer)
        return answer

    def _edges(self, kind: str) -> tuple[str, ...]:
        if kind.startswith("buckets"):
            return TTFT_EDGES if "ttft" in kind else ITL_EDGES
        return LENGTH_EDGES if kind.startswith("lengths") else ("",)

    def _facts(self, query: str) -> object:
        dialect = built_in()["vllm"]
        if query.startswith("group by(__name__)("):
            names = [name for signal in dialect.signals for name in dialect.metric_names(signal) if ":" in name]
            names += [f"{name}_count" for name in names]
            return [{"metric": {"__name__": name}, "value": [0, "1"]} for name in names]
        if query.startswith("group by(__name__,le)("):
            pairs = [("vllm:time_to_first_token_seconds_bucket", edge) for edge in TTFT_EDGES]
            pairs += [("vllm:request_time_per_output_token_seconds_bucket", edge) for edge in ITL_EDGES]
            return [{"metric": {"__name__": name, "le": edge}, "value": [0, "1"]} for name, edge in pairs]
        if "count_over_time" in query:
            return [
                {"metric": {"namespace": namespace, "forebay_workload": name}, "value": [0, "20"]}
                for namespace, name in self.workloads
            ]
        return []


def fleet() -> list[PoolTarget]:
    slos = [Slo(ttft_seconds=ttft, itl_seconds=itl) for ttft in (0.5, 0.8, 1.0, 2.0) for itl in (0.03, 0.05)]
    return [
        PoolTarget(
            key=PoolKey(f"team-{index % 40}", f"model-{index}"),
            slo=slos[index % len(slos)],
            engine="vllm",
            workloads=(
                WorkloadTarget(variant=P, role=Role.PREFILL, name=f"model-{index}-prefill", ready_replicas=1),
                WorkloadTarget(variant=D, role=Role.DECODE, name=f"model-{index}-decode", ready_replicas=1),
            ),
        )
        for index in range(POOLS)
    ]


@pytest.mark.benchmark
async def test_a_round_of_two_thousand_pools() -> None:
    targets = fleet()
    workloads = [(target.key.namespace, each.name) for target in targets for each in target.workloads]
    client = RenderedClient(workloads)
    source = PrometheusTelemetry(PrometheusSettings(), client=client)
    start = 1_800_000_002.0
    await source.observe(targets, start)
    rounds: list[float] = []
    pieces: list[float] = []
    for index in range(1, ROUNDS + 1):
        client.rendered.clear()
        await _render(client, targets, start + 15.0 * index)
        gc.collect()
        client.asked.clear()
        client.octets = client.samples = 0
        before = time.process_time()
        seen = await source.observe(targets, start + 15.0 * index)
        rounds.append(time.process_time() - before)
        assert len(seen) == POOLS
        assert all(each.traffic is not None and len(each.engines) == 2 for each in seen.values())
        assert all(each.missed is not None for each in seen.values())
        questions, octets, samples = client.asked.total(), client.octets, client.samples
        more = True
        while more:
            before = time.process_time()
            more = await source.look_up()
            pieces.append(time.process_time() - before)
    tracemalloc.start()
    await source.observe(targets, start + 15.0 * (ROUNDS + 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(
        f"\n{POOLS} pools, {len(workloads)} workloads: {questions} queries a round, {samples} series, "
        f"{octets / 1e6:.1f} MB of JSON\n"
        f"CPU per round: median {statistics.median(rounds):.3f} s; longest piece in a pause {max(pieces):.3f} s; "
        f"peak allocation {peak / 1e6:.0f} MB (answers held at once)"
    )
    assert statistics.median(rounds) < BUDGET_SECONDS


async def _render(client: RenderedClient, targets: list[PoolTarget], at_seconds: float) -> None:
    """Render a round's answers outside the measured time."""
    rehearsal = PrometheusTelemetry(PrometheusSettings(), client=client)
    await rehearsal.observe(targets, at_seconds)


@pytest.mark.benchmark
def test_the_longest_query_fits_a_request() -> None:
    """A group of fifty namespaces makes long matchers; they must stay far below the limits of proxies."""
    dialect = built_in()["vllm"]
    ask = Expressions(SharedQueries(dialect, ("namespace",)), PrometheusSettings(), None, 45)
    lengths = {signal: len(ask.growth(signal, 15, suffix="") or "") for signal in dialect.signals}
    longest = max(lengths, key=lambda signal: lengths[signal])
    print(f"\nlongest query without matchers: {longest}, {lengths[longest]} characters")
    assert lengths[longest] < 8_000
