"""The command: set the stage, play the scene, judge it."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import devcluster
from demo.meanwhile import replayed
from demo.picture import draw, write_page
from demo.sample import Sample, look
from demo.scene import DAYS_BEFORE, NAMESPACE, POOL, STEPS_PER_DAY, Scene, scene
from demo.stage import Stage, stage
from demo.table import View, legend, view
from demo.verdict import in_words, judge
from devcluster.binaries import Binaries
from forebay.offline.traces import TraceError

OUT = Path("build/demo")
LOOK_SECONDS = 1.0
INTERRUPTED = 130
DAY_PLAYED_SECONDS = 288.0
STEPS = (2, 3, 4, 5, 6)
"""Seconds of a forecast step; shorter ones are too short for scrapes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Returns 0 if the operator followed the load, 1 if it did not, 2 if it could not run, 130 after Ctrl-C.
    """
    given = _parser().parse_args(arguments)
    try:
        played = scene(seconds=given.seconds, trace_file=given.trace)
    except (TraceError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    OUT.mkdir(parents=True, exist_ok=True)
    began, before = time.monotonic(), False
    try:
        choice = devcluster.select()
        if choice.kind != "kind" and Binaries.from_environment().missing():
            print("A first build is ahead (7 to 20 minutes). To read meanwhile:")
            _replay(played)
            before = True
        with devcluster.open(choice) as cluster:
            return _play(cluster, played, kind=choice.kind, began=began, keep=given.keep, before=before)
    except (devcluster.DevClusterError, devcluster.KubectlError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndemo: interrupted; what it had started is gone", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    made.add_argument(
        "--seconds",
        type=_length,
        default=DAY_PLAYED_SECONDS,
        help="length of the compressed day (default %(default)g)",
    )
    trace = os.environ.get("TRACE")
    made.add_argument(
        "--trace", type=Path, default=Path(trace) if trace else None, help="recorded trace to play (or TRACE=file)"
    )
    made.add_argument(
        "--keep",
        action="store_true",
        default=os.environ.get("KEEP") == "1",
        help="leave everything up (or KEEP=1)",
    )
    return made


def _length(text: str) -> float:
    """Return the length of the day that is played: a whole number of seconds for each step of the forecasters."""
    if text not in {f"{STEPS_PER_DAY * step}" for step in STEPS}:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no length; give {STEPS_PER_DAY} times 2, 3, 4, 5 or 6 s, such as {DAY_PLAYED_SECONDS:g}"
        )
    return float(text)


def _play(cluster: devcluster.Cluster, played: Scene, *, kind: str, began: float, keep: bool, before: bool) -> int:
    with stage(cluster, played) as on:
        print(f"stage set after {time.monotonic() - began:.0f} s")
        print(f"playing {played.source}, {played.speed:.0f} times faster; {_past(played)}\n{legend(played)}\n")
        with view(played) as shown:
            samples = _follow(cluster, played, on, shown)
        result = judge(played, samples, cluster=kind, rounds=int(on.operator.metric("forebay_rounds_total")))
        (OUT / "result.json").write_text(json.dumps(result.json(), indent=2) + "\n", encoding="utf-8")
        draw(played, samples, OUT / "demo.png")
        write_page(result, OUT / "demo.png", OUT / "demo.html")
        print(f"\n{in_words(result)}\n\n{OUT}/demo.png  {OUT}/demo.html  {OUT}/result.json")
        if keep:
            _linger(cluster, on)
    if not before:
        _replay(played)
    return 0 if result.followed else 1


def _replay(played: Scene) -> None:
    """Print what the day comes to at its own pace, beside what people use today."""
    print(
        "\nNow the same day at its own pace, beside KEDA and HPA in the simulator (a minute or two) ...",
        flush=True,
    )
    print(f"\n{replayed(played, OUT)}", flush=True)


def _past(played: Scene) -> str:
    """Return what Prometheus knows of the days before."""
    if played.history is None:
        return "a recorded trace has no days before, so that the forecast starts from nothing"
    return f"the {DAYS_BEFORE} days before are in Prometheus"


def _follow(cluster: devcluster.Cluster, played: Scene, on: Stage, shown: View) -> list[Sample]:
    """Look once a second until the scene is over; take Prometheus away for a while on the way."""
    samples: list[Sample] = []
    began, up = on.began, True
    while (seconds := time.monotonic() - began) < played.seconds:
        _still_runs(on)
        away = played.outage[0] <= seconds < played.outage[1]
        if away and up:
            shown.say("taking Prometheus away: from here on nothing may be scaled in")
            on.prometheus.kill()
        if not away and not up:
            shown.say("Prometheus comes back")
            on.prometheus.restart()
        up = not away
        samples.append(
            look(cluster, on.simulator, on.operator, seconds=seconds, prometheus_up=up, earlier=samples)
        )
        shown.show(samples[-1])
        time.sleep(max(0.0, LOOK_SECONDS - (time.monotonic() - began) % LOOK_SECONDS))
    return samples


def _still_runs(on: Stage) -> None:
    """Check that the operator is there.

    Raises:
        DevClusterError: it ended; the message has the end of its log.
    """
    status = on.operator.exit_status()
    if status is not None:
        raise devcluster.DevClusterError(
            f"the operator ended with status {status}; the end of its log:\n{on.operator.log(20)}"
        )


def _linger(cluster: devcluster.Cluster, on: Stage) -> None:
    """Leave everything up until Ctrl-C."""
    programs = cluster.binaries.path("kubectl").parent
    print(
        "\nEverything is still up, and the traffic is over. In another terminal:\n"
        f"  export KUBECONFIG={cluster.kubeconfig} FOREBAY_OPERATOR_URL={on.operator.url} PATH=$PATH:{programs}\n"
        "  kubectl get inferencepools.forebay.io -A -o wide\n"
        f"  kubectl describe inferencepools.forebay.io -n {NAMESPACE} {POOL}\n"
        f"  .venv/bin/forebay explain {NAMESPACE}/{POOL}\n"
        f"  curl {on.operator.url}/metrics      curl {on.operator.url}/decisions/{NAMESPACE}/{POOL}\n"
        f"  Prometheus: {on.prometheus.url}\n"
        "Ctrl-C ends it."
    )
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        print("\nending")
