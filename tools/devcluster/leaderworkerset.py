"""The real LeaderWorkerSet controller beside a local cluster, with its webhooks on loopback."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from devcluster.cluster import Cluster
from devcluster.components import HOST
from devcluster.http_probe import answers_ok
from devcluster.ports import free_ports
from devcluster.processes import Component
from devcluster.targets import LWS
from devcluster.upstream import upstream_crds
from devcluster.waiting import eventually

_MODULE = "sigs.k8s.io/lws"
_CRD = "leaderworkersets"
_LABEL = "leaderworkerset.sigs.k8s.io/name"
_WEBHOOKS = frozenset({"mleaderworkerset.kb.io", "mpod.kb.io", "vleaderworkerset.kb.io", "vpod.kb.io"})


@contextmanager
def leader_worker_sets(cluster: Cluster) -> Iterator[Component]:
    """Run the controller while the context lasts.

    It writes the labels of groups in a webhook, and serves with the API server's certificate, which is valid for
    loopback and signed by the cluster's authority.
    """
    for path in upstream_crds(_MODULE, LWS.version):
        if path.stem.endswith(f"_{_CRD}"):
            cluster.kubectl("apply", "--server-side", "-f", str(path))
    group = ("api-resources", "--api-group=leaderworkerset.x-k8s.io", "-o", "name")
    eventually(lambda: _CRD in cluster.kubectl(*group), timeout_seconds=60, describe="the CRD")
    webhook, health = free_ports(2)
    config = _config(cluster, webhook, health)
    component = Component(
        host=cluster.host,
        name=LWS.name,
        argv=(
            "/usr/bin/env",
            f"KUBECONFIG={cluster.kubeconfig}",
            str(cluster.binaries.path(LWS.name)),
            "--config",
            str(config),
        ),
        is_ready=lambda: answers_ok(f"http://{HOST}:{health}/readyz"),
    )
    component.start()
    try:
        component.wait_ready()
        webhooks = _webhooks(cluster, webhook)
        cluster.apply(webhooks)
        yield component
    finally:
        cluster.kubectl(
            "delete",
            "mutatingwebhookconfigurations,validatingwebhookconfigurations",
            "-l",
            f"app={LWS.name}",
            "--ignore-not-found",
        )
        component.kill()


def _pki(cluster: Cluster) -> Path:
    return cluster.run_directory / "pki"


def _config(cluster: Cluster, webhook: int, health: int) -> Path:
    """Write the controller's configuration and certificate; return where the first is."""
    directory = cluster.run_directory / LWS.name
    directory.mkdir(mode=0o700)
    for ours, theirs in (("server.crt", "tls.crt"), ("server.key", "tls.key")):
        shutil.copy(_pki(cluster) / ours, directory / theirs)
    config = directory / "config.yaml"
    settings = {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "webhook": {"host": HOST, "port": webhook, "certDir": str(directory)},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": f"{HOST}:{health}"},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
    }
    config.write_text(json.dumps(settings))
    return config


def _webhooks(cluster: Cluster, port: int) -> list[dict[str, Any]]:
    """Return upstream's webhook configurations, which call the process on loopback."""
    bundle = base64.b64encode((_pki(cluster) / "ca.crt").read_bytes()).decode()
    (path,) = [file for file in upstream_crds(_MODULE, LWS.version, "config/webhook") if file.stem == "manifests"]
    documents: list[dict[str, Any]] = [item for item in yaml.safe_load_all(path.read_text()) if item]
    for document in documents:
        document["metadata"] = {"name": f"{LWS.name}-{document['metadata']['name']}", "labels": {"app": LWS.name}}
        document["webhooks"] = [item for item in document["webhooks"] if item["name"] in _WEBHOOKS]
        for item in document["webhooks"]:
            where = item["clientConfig"]["service"]["path"]
            if "v1-pod" in where:
                # As upstream's own patch says: else every pod of the cluster waits for it.
                item["objectSelector"] = {"matchExpressions": [{"key": _LABEL, "operator": "Exists"}]}
            item["clientConfig"] = {"url": f"https://{HOST}:{port}{where}", "caBundle": bundle}
    return [document for document in documents if document["webhooks"]]
