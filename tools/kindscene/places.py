"""Where things are in the cluster: names that `manifests/kind` and the chart's release give them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests" / "kind"
CHART = ROOT / "charts" / "forebay"

NAMESPACE = "forebay-system"
"""Of the chart's release."""
SERVING = "serving"
"""Of the served models."""
MONITORING = "monitoring"
"""Of Prometheus."""
LOAD_API = f"/api/v1/namespaces/{SERVING}/services/{{}}:9090/proxy"
"""A load generator's own API, by way of the API server, for the name of its Service."""

POOL_LABEL = "gpu-pool"
"""Label of the workers that names their GPU type."""
WORKERS = ("h100", "h100", "l40s")
"""GPU type of each worker, by order."""
GPUS_PER_NODE = 8
