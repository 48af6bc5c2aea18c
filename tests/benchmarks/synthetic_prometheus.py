"""A stand-in for a Prometheus that knows thousands of workloads: the answers are made up, their size is real.

It answers what Forebay's telemetry asks: which metrics and bucket edges exist, and one value per workload for the
rest. Only for measuring the operator; that the queries mean what they should is tested on a real Prometheus.
"""

import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_NAMES = (
    "vllm:request_success_total",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:request_prefill_time_seconds_count",
    "vllm:request_prefill_kv_computed_tokens_count",
    "vllm:time_to_first_token_seconds_count",
    "vllm:inter_token_latency_seconds_count",
)
_EDGES = ("0.05", "0.1", "0.5", "1.0", "2.5", "+Inf")


def answer(query: str, at_seconds: float, workloads: list[str]) -> str:
    """Return the JSON of an instant query."""
    if query.startswith("group by(__name__)"):
        return _vector([f'{{"__name__":"{name}"}}' for name in _NAMES], at_seconds, "1")
    if query.startswith("group by(__name__,le)"):
        buckets = [name.replace("_count", "_bucket") for name in _NAMES if name.endswith("_seconds_count")]
        return _vector(
            [f'{{"__name__":"{name}","le":"{edge}"}}' for name in buckets for edge in _EDGES], at_seconds, "1"
        )
    if "unless" in query:
        return _vector([], at_seconds, "0")
    edges = re.search(r"by\([^)]*\ble\b", query)
    if edges:
        labels = [
            f'{workload[:-1]},"le":"{edge}"}}'
            for workload in workloads
            for edge in _EDGES
            if edge in {"1.0", "+Inf"}
        ]
        return _vector(labels, at_seconds, "15")
    return _vector(workloads, at_seconds, _value(query, at_seconds))


def _value(query: str, at_seconds: float) -> str:
    if "timestamp(" in query:
        return f"{at_seconds - 3:.3f}"
    if "count_over_time(" in query:
        return "6"
    if "histogram_quantile(" in query:
        return "0.02"
    if query.startswith(("count", "sum by(namespace,forebay_workload)(label_replace(count")):
        return "1"
    for name, value in (("usage_perc", "0.3"), ("_running", "2"), ("_waiting", "0"), ("tokens", "3000")):
        if name in query:
            return "0" if ")-(" in query and name == "_running" else value
    return "15"


def _vector(labels: list[str], at_seconds: float, value: str) -> str:
    items = ",".join(f'{{"metric":{label},"value":[{at_seconds},"{value}"]}}' for label in labels)
    return f'{{"status":"success","data":{{"resultType":"vector","result":[{items}]}}}}'


def serve(port: int, namespace: str, pools: int) -> None:
    """Serve until killed."""
    workloads = [
        json.dumps({"namespace": namespace, "forebay_workload": f"pool-{number}-{role}"})
        for number in range(pools)
        for role in ("prefill", "decode")
    ]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(parse_qs(urlsplit(self.path).query))

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            self._reply(parse_qs(self.rfile.read(length).decode()))

        def _reply(self, fields: dict[str, list[str]]) -> None:
            at = float(fields.get("time", [str(time.time())])[0])
            body = answer(fields.get("query", [""])[0], at, workloads).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay quiet."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
