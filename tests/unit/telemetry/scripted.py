"""A client whose answers are written down, by the kind of the question."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from forebay.flow.fleet import PoolKey, Role, Slo, VariantKey
from forebay.telemetry.source import PoolTarget, WorkloadTarget
from forebay.telemetry.transport.client import Read
from forebay.telemetry.transport.errors import QueryError, QueryFailure

Key = tuple[str, ...]
Table = Mapping[Key, float | str]
Answer = Table | Callable[[float], Table]
"""What is answered at a time; a function of the time where that matters."""

LABELS = ("namespace", "forebay_workload", "le")
KNOWN = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:request_success_total",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:request_prefill_time_seconds_count",
    "vllm:request_prompt_tokens_count",
    "vllm:time_to_first_token_seconds_count",
    "vllm:request_time_per_output_token_seconds_count",
)


@dataclass
class ScriptedClient:
    """Answers from ``script``; what is not in it matches no series."""

    script: dict[str, Answer] = field(default_factory=dict)
    known: Sequence[str] = KNOWN
    edges: Sequence[tuple[str, str]] = ()
    labels: Key = LABELS
    scrapes: Table = field(default_factory=dict)
    """Scrapes of the last 300 s."""
    down: bool = False
    failing: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    ranges: list[tuple[str, int, int, int]] = field(default_factory=list)
    closed: bool = False

    async def instant(self, query: str, at_seconds: float, *, kind: str, read: Callable[[object], Read]) -> Read:
        self._note(kind)
        if kind == "facts":
            return read(self._facts(query))
        if kind == "forecast":
            return read([at_seconds, query])
        return read(
            [
                {"metric": self._metric(key), "value": [at_seconds, str(value)]}
                for key, value in self._table(kind, at_seconds).items()
            ]
        )

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
        self._note(kind)
        self.ranges.append((kind, start_seconds, end_seconds, step_seconds))
        rows: dict[Key, list[list[object]]] = {}
        for at in range(start_seconds, end_seconds + 1, step_seconds):
            for key, value in self._table(kind, at).items():
                rows.setdefault(key, []).append([at, str(value)])
        return read([{"metric": self._metric(key), "values": values} for key, values in rows.items()])

    async def close(self) -> None:
        self.closed = True

    def _note(self, kind: str) -> None:
        self.asked[kind] += 1
        if self.down or kind in self.failing:
            raise QueryError(QueryFailure.CONNECTION, "No connection to Prometheus.")

    def _table(self, kind: str, at: float) -> Table:
        answer = self.script.get(kind, {})
        return answer(at) if callable(answer) else answer

    def _metric(self, key: Key) -> dict[str, str]:
        return dict(zip(self.labels, key, strict=False))

    def _facts(self, query: str) -> object:
        if query.startswith("group by(__name__)("):
            asked = re.search(r'__name__=~"((?:[^"\\\\]|\\\\.)*)"', query)
            assert asked is not None, query
            pattern = asked[1].replace("\\\\", "\\")
            found = [name for name in self.known if re.fullmatch(pattern, name)]
            return [{"metric": {"__name__": name}, "value": [0, "1"]} for name in found]
        if query.startswith("group by(__name__,le)("):
            return [{"metric": {"__name__": name, "le": edge}, "value": [0, "1"]} for name, edge in self.edges]
        if "count_over_time" in query and "[300s]" in query:
            return [{"metric": self._metric(key), "value": [0, str(value)]} for key, value in self.scrapes.items()]
        return []


def pool(
    name: str = "chat",
    *,
    namespace: str = "ns",
    engine: str = "vllm",
    roles: Mapping[str, Role] | None = None,
    ready: int | None = 1,
) -> PoolTarget:
    """Return a pool whose workloads are named after its variants."""
    workloads = tuple(
        WorkloadTarget(
            variant=VariantKey(role, variant), role=role, name=f"{name}-{variant}", ready_replicas=ready
        )
        for variant, role in (roles or {"serve": Role.SERVE}).items()
    )
    slo = Slo(ttft_seconds=1.0, itl_seconds=0.05)
    return PoolTarget(key=PoolKey(namespace, name), slo=slo, engine=engine, workloads=workloads)
