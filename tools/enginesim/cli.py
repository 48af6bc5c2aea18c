"""``python -m enginesim``: simulated inference engines for the Ready pods of a cluster."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from devcluster.rest import Rest, api_client
from enginesim.config import Config, load_config
from enginesim.errors import EngineSimError
from enginesim.pods import PodLister
from enginesim.runner import Runner
from enginesim.server import MetricsServer
from enginesim.simulator import Simulator
from enginesim.tables import load_table, table_names
from forebay.offline.traces import PRESETS, TraceError

_DESCRIPTION = """\
Simulated inference engines for the Ready pods of a cluster, for tests and demos.

The pods run nothing (KWOK fakes them). This process lists them every second, gives those that are
Ready the requests of a trace, lets them prefill, hand over KV caches and decode (the physics is that
of `forebay replay`), and serves each pod's /metrics with the names, labels and histogram buckets of a
real engine. Prometheus finds them by HTTP service discovery:

    scrape_configs:
    - job_name: engines
      scrape_interval: 5s
      http_sd_configs: [{url: "http://127.0.0.1:PORT/sd", refresh_interval: 5s}]

A pod that is not Ready gets nothing more and finishes what it has; a pod that is gone drops its
requests, which start again elsewhere."""

_EPILOG = """\
paths served (on loopback only):
  /sd       Prometheus HTTP service discovery
  /targets/NAMESPACE/NAME/metrics
            the metrics of one pod or gateway
  /status   demand, served, SLO attainment and queues as JSON
  /faults   GET; DELETE; POST {{"mode": "silent", "targets": "serving/chat-*"}}
            modes: silent (503), nan, frozen, vanish (from discovery), reset (counters)

configuration (YAML):
  pools:
  - name: chat
    namespace: serving
    model: example/model-70b
    engine: vllm
    slo: {{ttft_seconds: 1.0, itl_seconds: 0.05, target: 0.95}}
    traffic: {{preset: chat, requests_per_second: 20, speed: 360}}   # or {{file: trace.csv.gz}}
    gateway: {{name: chat-epp, dialect: inference-extension}}        # optional
    workloads:                       # kind: Deployment; pods by the selector in /scale
    - {{name: chat-prefill, role: prefill}}
    - {{name: chat-decode, role: decode, speed: {{decode_base_seconds: 0.015}}}}

engines: {engines}
gateways: {gateways}
presets: {presets}

A gateway holds the queue (flow control) unless it has holds_queue: false; then the engines do.

speed: the trace's clock runs so many times faster. Requests are thinned so that the rate stays what it was, and
latencies are real: a cold start of 30 s against a day in 4 minutes is a cold start of 3 hours."""


def _tables(kind: str) -> str:
    return ", ".join(name for name in table_names() if load_table(name).kind == kind)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(
        prog="python -m enginesim",
        description=_DESCRIPTION,
        epilog=_EPILOG.format(engines=_tables("engine"), gateways=_tables("gateway"), presets=", ".join(PRESETS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("config", type=Path, help="YAML file with the pools to simulate")
    made.add_argument("--kubeconfig", type=Path, default=os.environ.get("KUBECONFIG"), help="default: $KUBECONFIG")
    made.add_argument("--port", type=int, help="port on loopback; default: the configuration's, else any free one")
    made.add_argument(
        "--once", action="store_true", help="end when the trace is played and every request answered"
    )
    made.add_argument(
        "--check", action="store_true", help="load configuration and traces, print a summary, and end"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = parser().parse_args(arguments)
    try:
        config = load_config(options.config)
        simulator = Simulator(config)
        if options.check:
            print(json.dumps(simulator.status(), indent=2))
            return 0
        port = config.port if options.port is None else options.port
        return _serve(config, simulator, _kubeconfig(options.kubeconfig), port, once=options.once)
    except (EngineSimError, TraceError, OSError) as error:
        print(f"enginesim: {error}", file=sys.stderr)
        return 2


def _kubeconfig(given: Path | str | None) -> Path:
    if given is None:
        raise EngineSimError("no cluster: give --kubeconfig or set KUBECONFIG")
    return Path(given)


def _serve(config: Config, simulator: Simulator, kubeconfig: Path, port: int, *, once: bool) -> int:
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    runner = Runner(simulator, PodLister(Rest(api_client(kubeconfig))), say=_say, sleep=stopped.wait)
    with MetricsServer(simulator, config.host, port) as server:
        print(f"enginesim: http://{server.address}/sd", flush=True)
        runner.run(lambda: stopped.is_set() or (once and simulator.exhausted))
    return 0


def _say(text: str) -> None:
    print(f"enginesim: {text}", file=sys.stderr, flush=True)
