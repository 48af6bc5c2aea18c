"""The same traffic under Forebay and under a plain HPA, one after the other, on the same engines: what each costs.

A report, no test: who wins is not asserted. GPUs are simulated, so are their prices (`manifests/kind/pool.yaml`).
"""

import base64
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from devcluster import pki
from kindscene import external_metrics
from kindscene.places import MANIFESTS, MONITORING
from kindscene.scene import Scene

_LOOK_SECONDS = 1.0
_SHARE_SECONDS = 30.0
"""Over which the load generator tells attainment."""
_HPA = MANIFESTS / "hpa.yaml"


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of traffic."""

    seconds: float
    requests_per_second: float


#: A quiet start, a rise, a higher peak, and its end.
DAY = (Step(30, 1.0), Step(90, 4.0), Step(60, 7.0), Step(120, 1.0))


@dataclass(slots=True)
class Tally:
    """What one run cost and what became of its requests.

    Attributes:
        name: who scaled.
        usd: for engines that existed, Ready or not, by the node pools' prices.
        gpu_hours: the same as time.
        served: requests that were answered.
        met: of these, how many met their objectives.
        failed: requests that were not answered.
        most: highest number of engines.
        last: engines at the end.
        scalings: how often a Deployment's replicas changed.
    """

    name: str
    usd: float = 0.0
    gpu_hours: float = 0.0
    served: float = 0.0
    met: float = 0.0
    failed: int = 0
    most: int = 0
    last: int = 0
    scalings: int = 0
    seen: dict[str, int] = field(default_factory=dict)

    def look(
        self, engines: dict[str, int], asked: dict[str, int], prices: dict[str, float], seconds: float
    ) -> None:
        """Count engines by GPU type over the time since the last look."""
        self.usd += sum(prices[kind] * count for kind, count in engines.items()) * seconds / 3_600
        self.gpu_hours += sum(engines.values()) * seconds / 3_600
        self.last = sum(asked.values())
        self.most = max(self.most, sum(engines.values()))
        self.scalings += sum(1 for name, count in asked.items() if self.seen.get(name, count) != count)
        self.seen = asked

    def share(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Take over what the load generator counted between two of its reports, `_SHARE_SECONDS` apart."""
        served = after["succeeded"] - before["succeeded"]
        self.served += served
        self.met += served * (after["attainment"] or 0.0)
        self.failed += after["failed"] - before["failed"]

    def row(self) -> str:
        """Return a line of the table."""
        cells = (
            self.name,
            f"{100 * self.met / self.served:.1f} %" if self.served else "-",
            f"{self.served:.0f}",
            str(self.failed),
            f"{self.gpu_hours:.3f}",
            f"{self.usd:.3f}",
            str(self.most),
            str(self.last),
            str(self.scalings),
        )
        return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


_COLUMNS = ("", "met", "served", "failed", "GPU-hours", "$", "most", "last", "scalings")
_WIDTHS = (10, 8, 8, 7, 10, 8, 6, 6, 10)
HEADER = " ".join(f"{name:>{width}}" for name, width in zip(_COLUMNS, _WIDTHS, strict=True))


def contrast(scene: Scene, *, log: Callable[[str], object] = print) -> list[Tally]:
    """Play the same day under Forebay and under an HPA, and return what each cost."""
    tallies = []
    prices = _prices()
    for name, scaling in (("Forebay", _forebay), ("HPA", _hpa)):
        scene.calm()
        log(f"kindscene: {sum(step.seconds for step in DAY):.0f} s of traffic under {name}")
        with scaling(scene):
            tallies.append(_played(scene, Tally(name), prices))
    scene.calm()
    return tallies


def _played(scene: Scene, tally: Tally, prices: dict[str, float]) -> Tally:
    """Send the day's traffic, and count until its end and that of the last requests."""
    scene.send(",".join(f"{step.seconds:g}:{step.requests_per_second:g}" for step in DAY))
    before = scene.load()
    began = looked = time.monotonic()
    shared = began
    until = began + sum(step.seconds for step in DAY) + _SHARE_SECONDS
    while looked < until:
        time.sleep(_LOOK_SECONDS)
        now = time.monotonic()
        tally.look(_engines(scene, prices), scene.replicas(), prices, now - looked)
        looked = now
        if now - shared >= _SHARE_SECONDS:
            after = scene.load()
            tally.share(before, after)
            before, shared = after, now
    return tally


def _engines(scene: Scene, prices: dict[str, float]) -> dict[str, int]:
    return {kind: len(scene.engines(f"app=chat,gpu={kind}")) for kind in prices}


def _prices() -> dict[str, float]:
    """Return dollars per GPU and hour, by GPU type."""
    documents = yaml.safe_load_all((MANIFESTS / "pool.yaml").read_text())
    return {
        one["metadata"]["name"]: float(one["spec"]["pricePerGPUHour"])
        for one in documents
        if one["kind"] == "GPUNodePool"
    }


@contextmanager
def _forebay(scene: Scene) -> Iterator[None]:
    scene.set_mode("Auto")
    yield
    scene.set_mode("Recommend")


@contextmanager
def _hpa(scene: Scene) -> Iterator[None]:
    """Have HPAs in Forebay's place, with the metrics adapter that they need."""
    scene.cluster.apply(_adapter_objects())
    scene.cluster.apply(_HPA)
    try:
        scene.installation.await_rollout("external-metrics", MONITORING)
        scene.await_true(lambda: _reads(scene), seconds=60, what="HPAs that read their metric")
        yield
    finally:
        delete = ("delete", "-f", str(_HPA), "--ignore-not-found", "--timeout=60s")
        scene.cluster.kubectl(*delete, timeout_seconds=70)


def _reads(scene: Scene) -> bool:
    path = "jsonpath={.items[*].status.conditions[?(@.type=='ScalingActive')].status}"
    return scene.cluster.kubectl("get", "hpa", "-n", "serving", "-o", path).split() == ["True", "True"]


def _adapter_objects() -> list[dict[str, object]]:
    """Return the adapter's program and a certificate that was just made."""
    program = Path(external_metrics.__file__)
    with tempfile.TemporaryDirectory() as folder:
        made = pki.create(Path(folder) / "pki")
        pair = {"tls.crt": made.server_certificate, "tls.key": made.server_key}
        certificate = {name: base64.b64encode(path.read_bytes()).decode() for name, path in pair.items()}
    metadata = {"name": "external-metrics", "namespace": MONITORING}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {program.name: program.read_text()},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": metadata,
            "data": certificate,
        },
    ]
