"""A cluster to run on, for tests and the demo: one interface, three kinds.

    with devcluster.open() as cluster:          # takes what is here, and says which and why
        cluster.apply(manifest)
        print(cluster.kubectl("get", "nodes"))

`local` is a real control plane (etcd, kube-apiserver, kube-controller-manager, kube-scheduler) with KWOK as
kubelet, built once from pinned Go modules; `kind` has containers as nodes; `kubeconfig` is a cluster that exists
already. `FOREBAY_CLUSTER` overrides the choice. `python -m devcluster --help` has the same for a shell.
"""

from devcluster.autoscaler import AutoscalerTimes, NodeAutoscaler
from devcluster.cluster import Cluster
from devcluster.errors import DevClusterError, KubectlError
from devcluster.gpu import POOL_LABEL, ColdStart, NodePool, lose_node
from devcluster.local import LocalCluster
from devcluster.opening import open  # noqa: A004  (read as devcluster.open)
from devcluster.processes import Component
from devcluster.prometheus import PrometheusServer
from devcluster.rest import Rest
from devcluster.selection import Choice, select
from devcluster.upstream import GATEWAY_INFERENCE_EXTENSION, upstream_crds
from devcluster.waiting import eventually

__all__ = [
    "GATEWAY_INFERENCE_EXTENSION",
    "POOL_LABEL",
    "AutoscalerTimes",
    "Choice",
    "Cluster",
    "ColdStart",
    "Component",
    "DevClusterError",
    "KubectlError",
    "LocalCluster",
    "NodeAutoscaler",
    "NodePool",
    "PrometheusServer",
    "Rest",
    "eventually",
    "lose_node",
    "open",
    "select",
    "upstream_crds",
]
