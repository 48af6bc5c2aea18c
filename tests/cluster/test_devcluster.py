"""The cluster that the other cluster tests stand on: real parts, real refusals, and nothing left behind."""

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

import devcluster
from devcluster import AutoscalerTimes, Cluster, ColdStart, DevClusterError, KubectlError, NodePool
from devcluster import local as local_kind
from devcluster.autoscaler import is_unschedulable
from devcluster.existing import ExistingCluster
from devcluster.gpu import GPU_RESOURCE
from devcluster.ports import LOOPBACK, free_ports
from devcluster.rest import Json, condition_status, mapping, sequence, text
from devcluster.waiting import eventually

#: Slow enough for each step to be seen, and as fast as it goes.
VISIBLE = ColdStart(node_ready_seconds=1, gpus_ready_seconds=2, image_pull_seconds=2, model_load_seconds=2)
QUICK = ColdStart(
    node_ready_seconds=0, gpus_ready_seconds=0, image_pull_seconds=0, model_load_seconds=0, termination_seconds=0
)
HOLDER = """
import sys, time, devcluster
cluster = devcluster.open(devcluster.Choice("local", "a test wants it"), log=lambda _: None)
print(cluster.run_directory, flush=True)
time.sleep(600)
"""


@pytest.fixture
def pool(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[NodePool]:
    """A pool with a name of its own, whose nodes are removed afterwards."""
    name = "pool-" + re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    pool = NodePool(name, accelerator="h100", gpus_per_node=8, max_nodes=2, cold_start=QUICK)
    yield pool
    cluster.kubectl("delete", "nodes", "-l", f"{devcluster.POOL_LABEL}={name}", "--wait=false")


@pytest.fixture
def local(cluster: Cluster) -> Cluster:
    """The cluster, where its processes are ours to kill."""
    if cluster.kind != "local":
        pytest.skip(f"kills processes of the control plane; the cluster is of kind {cluster.kind}")
    return cluster


def engine_pod(name: str, pool: NodePool, *, gpus: int = 8) -> Json:
    """Return an engine's pod for a node pool."""
    container = {"name": "engine", "image": "vllm", "resources": {"limits": {GPU_RESOURCE: str(gpus)}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": pool.cold_start.pod_annotations()},
        "spec": {"nodeSelector": {devcluster.POOL_LABEL: pool.name}, "containers": [container]},
    }


def pod_phase(pod: Json) -> str:
    """Return where a pod is in its cold start."""
    if condition_status(pod, "Ready") == "True":
        return "ready"
    for status in sequence(pod, "status", "containerStatuses"):
        return "loading weights" if mapping(status, "state", "running") else "pulling image"
    return "scheduled" if text(pod, "spec", "nodeName") else "waiting for GPUs"


def processes_of(run_directory: Path) -> list[int]:
    """Return the processes that have a run's directory in their command line."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(run_directory).encode() in command:
            found.append(int(entry.name))
    return found


def test_a_gpu_node_and_its_pod_go_through_a_cold_start_in_order(
    cluster: Cluster, namespace: str, pool: NodePool
) -> None:
    rest = cluster.rest()
    pool = dataclasses.replace(pool, cold_start=VISIBLE)
    (name,) = cluster.add_gpu_nodes(pool)
    rest.create(f"/api/v1/namespaces/{namespace}/pods", engine_pod("engine", pool))
    node_states: list[tuple[str | None, str, bool]] = []
    pod_states: list[tuple[str, float]] = []

    def look() -> None:
        node = rest.get(f"/api/v1/nodes/{name}")
        gpus = str(mapping(node, "status", "allocatable")[GPU_RESOURCE])
        labelled = "nvidia.com/gpu.product" in mapping(node, "metadata", "labels")
        state = (condition_status(node, "Ready"), gpus, labelled)
        if state not in node_states:
            node_states.append(state)
        phase = pod_phase(rest.get(f"/api/v1/namespaces/{namespace}/pods/engine"))
        if not pod_states or pod_states[-1][0] != phase:
            pod_states.append((phase, time.monotonic()))
        assert phase == "ready"

    eventually(look, timeout_seconds=120, describe=lambda: f"nodes: {node_states}, pods: {pod_states}")
    # The labels are written a moment before the GPUs, and that moment may be seen or not.
    without_moment = [state for state in node_states if state != ("True", "0", True)]
    assert without_moment == [("False", "0", False), ("True", "0", False), ("True", "8", True)]
    seen = [phase for phase, _ in pod_states if phase != "scheduled"]
    assert seen == ["waiting for GPUs", "pulling image", "loading weights", "ready"]
    at = dict(pod_states)
    # Times in a status are whole seconds: a step is exact to half a second, and a look takes its time too.
    assert 1.3 < at["loading weights"] - at["pulling image"] < 4
    assert 1.3 < at["ready"] - at["loading weights"] < 4


def test_a_deleted_pod_ends_and_frees_its_gpus(cluster: Cluster, namespace: str, pool: NodePool) -> None:
    rest = cluster.rest()
    cluster.add_gpu_nodes(pool)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    rest.create(pods, engine_pod("first", pool))
    eventually(lambda: pod_phase(rest.get(f"{pods}/first")) == "ready")
    rest.create(pods, engine_pod("second", pool))
    eventually(lambda: is_unschedulable(rest.get(f"{pods}/second")))
    rest.delete(f"{pods}/first")
    eventually(lambda: not rest.exists(f"{pods}/first"))
    eventually(lambda: pod_phase(rest.get(f"{pods}/second")) == "ready")


def test_a_lost_node_is_not_ready_and_stays_so(cluster: Cluster, pool: NodePool) -> None:
    rest = cluster.rest()
    (name,) = cluster.add_gpu_nodes(pool)

    def ready() -> str | None:
        return condition_status(rest.get(f"/api/v1/nodes/{name}"), "Ready")

    eventually(lambda: ready() == "True")
    devcluster.lose_node(rest, name)
    eventually(lambda: ready() == "Unknown")
    eventually(
        lambda: any(
            taint.get("key") == "node.kubernetes.io/unreachable"
            for taint in sequence(rest.get(f"/api/v1/nodes/{name}"), "spec", "taints")
        )
    )


def test_waiting_pods_buy_nodes_until_the_stock_is_out_and_empty_nodes_go(
    cluster: Cluster, namespace: str, pool: NodePool
) -> None:
    rest = cluster.rest()
    autoscaler = cluster.start_autoscaler([pool], times=AutoscalerTimes(unneeded_seconds=1, retry_seconds=1))
    autoscaler.set_stock(pool.name, 1)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    for name in ("a", "b"):
        rest.create(pods, engine_pod(name, pool))

    def phases() -> list[str]:
        return sorted(pod_phase(pod) for pod in rest.items(pods))

    eventually(lambda: phases() == ["ready", "waiting for GPUs"], describe=lambda: str(phases()))
    reasons = {text(event, "reason") for event in rest.items(f"/api/v1/namespaces/{namespace}/events")}
    assert {"TriggeredScaleUp", "FailedScaleUp"} <= reasons
    autoscaler.set_stock(pool.name, None)
    eventually(lambda: phases() == ["ready", "ready"], describe=lambda: str(phases()))
    for name in ("a", "b"):
        rest.delete(f"{pods}/{name}")
    selector = f"{devcluster.POOL_LABEL}={pool.name}"
    eventually(lambda: rest.items("/api/v1/nodes", labelSelector=selector) == [])
    autoscaler.stop()


def test_tokens_may_do_what_they_need_and_no_more(local: Cluster) -> None:
    kwok = local.rest(local.kubeconfig_of("kwok"))
    assert kwok.items("/api/v1/nodes") is not None
    for method, path, body in (
        ("GET", "/api/v1/secrets", None),
        ("POST", "/api/v1/nodes", NodePool("x").node("x")),
        ("DELETE", "/api/v1/nodes/x", None),
    ):
        with pytest.raises(ApiException) as refusal:
            kwok.request(method, path, body)
        assert refusal.value.status == 403
    prometheus = local.rest(local.kubeconfig_of("prometheus"))
    assert prometheus.items("/api/v1/pods") is not None
    with pytest.raises(ApiException) as refusal:
        prometheus.patch("/api/v1/nodes/x", {})
    assert refusal.value.status == 403


def test_a_service_account_has_exactly_the_rights_of_its_role(cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    cluster.kubectl("create", "role", "r", "--verb=list", "--resource=configmaps", "-n", namespace)
    cluster.kubectl(
        "create", "rolebinding", "r", "--role=r", f"--serviceaccount={namespace}:reader", "-n", namespace
    )
    kubeconfig = cluster.kubeconfig_for(namespace, "reader")
    core = client.CoreV1Api(cluster.api(kubeconfig))
    assert len(core.list_namespaced_config_map(namespace).items) == 1  # the cluster's CA
    with pytest.raises(KubectlError, match=r"Forbidden.*system:serviceaccount:" + namespace):
        cluster.kubectl("get", "secrets", "-n", namespace, kubeconfig=kubeconfig)


def test_a_manifest_with_an_unknown_field_is_refused_with_its_name(cluster: Cluster, namespace: str) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": namespace},
        "dato": {},
    }
    with pytest.raises(KubectlError, match="dato"):
        cluster.apply(manifest)


def after_a_crash(local: Cluster, namespace: str) -> str:
    """Return what a person needs to see when a component did not find its way back."""
    assert isinstance(local, devcluster.LocalCluster)
    ended = [name for name, component in local.components.items() if not component.is_running()]
    logs = [f"{name}:\n{local.host.log_tail(name, 8)}" for name in ("kube-scheduler", "kwok")]
    seen = local.kubectl("get", "nodes,pods,events", "-n", namespace, "-o", "wide")
    return "\n".join([f"ended: {ended or 'none'}", seen, *logs])


def test_the_api_server_comes_back_with_its_objects_after_a_crash(local: Cluster, namespace: str) -> None:
    rest = local.rest()
    local.apiserver.kill()
    with pytest.raises(Exception, match=r"refused|Max retries|reset"):
        rest.get(f"/api/v1/namespaces/{namespace}")
    local.apiserver.restart()
    assert rest.exists(f"/api/v1/namespaces/{namespace}")
    pods = f"/api/v1/namespaces/{namespace}/pods"
    pool = NodePool("after-crash", cold_start=QUICK)
    try:
        local.add_gpu_nodes(pool)
        rest.create(pods, engine_pod("engine", pool))
        # Scheduler, controllers and KWOK find their way back as well; their clients wait up to 30 s between tries.
        eventually(
            lambda: pod_phase(rest.get(f"{pods}/engine")) == "ready",
            timeout_seconds=180,
            describe=lambda: after_a_crash(local, namespace),
        )
    finally:
        local.kubectl("delete", "nodes", "-l", f"{devcluster.POOL_LABEL}={pool.name}", "--wait=false")


def test_prometheus_finds_pods_through_the_api_server_and_keeps_its_data_over_a_crash(
    cluster: Cluster, namespace: str, pool: NodePool
) -> None:
    rest = cluster.rest()
    cluster.add_gpu_nodes(pool)
    rest.create(f"/api/v1/namespaces/{namespace}/pods", engine_pod("engine", pool))
    discovery = {
        "role": "pod",
        "kubeconfig_file": str(cluster.kubeconfig_of("prometheus")),
        "namespaces": {"names": [namespace]},
    }
    # Pods of KWOK have no network; here it is enough that they are found.
    relabel = [
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
        {"target_label": "__address__", "replacement": "127.0.0.1:1"},
    ]
    job = {"job_name": "engines", "kubernetes_sd_configs": [discovery], "relabel_configs": relabel}
    prometheus = cluster.start_prometheus(
        {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
    )
    eventually(lambda: len(prometheus.query('up{pod="engine"}')) == 1, describe="the pod is a target")

    def first_sample() -> str:
        found = prometheus.query('min_over_time(timestamp(up{pod="engine"})[1h:1s])')
        assert len(found) == 1
        return str(found[0]["value"]).split()[1]

    before = eventually(first_sample)
    prometheus.kill()
    with pytest.raises(OSError, match="refused"):
        prometheus.query("up")
    prometheus.restart()
    assert first_sample() == before
    prometheus.stop()


def test_a_bad_prometheus_configuration_is_reported_in_its_own_words(cluster: Cluster) -> None:
    with pytest.raises(DevClusterError, match="scrape_intervall"):
        cluster.start_prometheus({"global": {"scrape_intervall": "1s"}})


def test_two_clusters_live_side_by_side_and_leave_nothing_behind(
    local: Cluster, record_property: Callable[[str, object], None]
) -> None:
    with devcluster.open(devcluster.Choice("local", "a test wants a second one")) as second:
        assert isinstance(second, devcluster.LocalCluster)
        record_property("warm_start_seconds", second.start_seconds)
        second.kubectl("create", "namespace", "only-here")
        assert not local.rest().exists("/api/v1/namespaces/only-here")
        pids, directory = processes_of(second.run_directory), second.run_directory
        assert len(pids) >= 6  # the supervisor and five programs
    assert processes_of(directory) == []
    assert not directory.exists()
    assert local.kubectl("get", "--raw", "/readyz") == "ok"


@pytest.mark.parametrize("taken", [0, 5], ids=["etcd", "kwok"])
def test_a_port_that_is_taken_in_the_last_moment_is_drawn_again(
    taken: int, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws, said = 0, list[str]()
    with socket.create_server((LOOPBACK, 0)) as thief:

        def unlucky_at_first(count: int) -> list[int]:
            nonlocal draws
            draws += 1
            ports = free_ports(count)
            if draws == 1:
                ports[taken] = thief.getsockname()[1]
            return ports

        monkeypatch.setattr(local_kind, "free_ports", unlucky_at_first)
        with devcluster.LocalCluster.start(cluster.binaries, log=said.append) as second:
            assert second.kubectl("get", "--raw", "/readyz") == "ok"
    assert draws == 2
    assert said == ["devcluster: a port was taken in the last moment: drawing others"]


def test_an_existing_cluster_is_used_and_left_as_it_is(local: Cluster, namespace: str, pool: NodePool) -> None:
    with ExistingCluster.start(local.binaries, local.kubeconfig) as existing:
        assert "never torn down" in existing.describe()
        with pytest.raises(DevClusterError, match="not ours to stop or start: use FOREBAY_CLUSTER=local"):
            existing.apiserver.kill()
        (name,) = existing.add_gpu_nodes(pool)
        eventually(lambda: condition_status(existing.rest().get(f"/api/v1/nodes/{name}"), "Ready") == "True")
    assert local.rest().exists(f"/api/v1/namespaces/{namespace}")
    assert local.rest().exists(f"/api/v1/nodes/{name}")


def test_a_cluster_ends_with_a_parent_that_is_killed(local: Cluster) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder:
        directory = Path(holder.stdout.readline().strip())
        assert len(processes_of(directory)) >= 6
        holder.send_signal(signal.SIGKILL)
    eventually(
        lambda: processes_of(directory) == [],
        timeout_seconds=120,
        describe=lambda: f"still there: {processes_of(directory)}",
    )
    eventually(lambda: not directory.exists(), timeout_seconds=120)


def test_the_inference_extensions_crds_come_from_their_go_module(cluster: Cluster) -> None:
    files = devcluster.upstream_crds(devcluster.GATEWAY_INFERENCE_EXTENSION, "v1.0.0")
    assert any("inferencepools" in path.name for path in files)
    with pytest.raises(DevClusterError, match=r"v0\.0\.99 cannot be had"):
        devcluster.upstream_crds(devcluster.GATEWAY_INFERENCE_EXTENSION, "v0.0.99")
