"""Releases on a real API server: install, upgrade from older charts, rollback, uninstall, reinstall; pools stay.

The Deployment has no replicas here: there is no image to pull, and KWOK would play its pods as running.
"""

import copy
import io
import json
import secrets
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster, KubectlError, upstream_crds
from devcluster.rest import Rest
from tests.cluster.chart_helm import CHART, EXAMPLES, ROOT, Helm, helm_for, named, render
from tests.unit.api.manifests import sample

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
#: Kinds of the Prometheus Operator, which the test cluster does not have.
PROMETHEUS_OPERATOR = "github.com/prometheus-operator/prometheus-operator"
FOREIGN = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}


@pytest.fixture
def home(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Helm]:
    """Helm for one namespace; a release that a failed test left behind is uninstalled."""
    helm = helm_for(cluster, tmp_path, namespace)
    yield helm
    helm.forget_all()


def values(**more: Any) -> dict[str, Any]:
    # The fixture's plain install owns the CRDs already; helm takes over only what it made or is told to.
    return {"replicas": 0, "fullnameOverride": f"fb-{secrets.token_hex(3)}", "crds": {"enabled": False}, **more}


class Release:
    """What is looked at of a release on the cluster."""

    def __init__(self, rest: Rest, namespace: str, name: str) -> None:
        self._rest = rest
        self.deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        self.pools = f"/apis/forebay.io/v1alpha1/namespaces/{namespace}/inferencepools"

    def is_there(self) -> bool:
        return self._rest.exists(self.deployment)

    def interval(self) -> str:
        document: Any = self._rest.get(self.deployment)
        environment = document["spec"]["template"]["spec"]["containers"][0]["env"]
        return next(str(entry["value"]) for entry in environment if entry["name"] == "FOREBAY_INTERVAL")

    def add_pool(self) -> str:
        """Create a pool of a user's, and return its path."""
        pool = sample("chat-70b")
        self._rest.create(self.pools, pool)
        return f"{self.pools}/{pool['metadata']['name']}"


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"networkPolicy": {"enabled": True}, "dashboard": {"enabled": True}},
        {"watchNamespaces": ["default", "kube-system"]},
        {"prometheus": {"basicAuthSecret": {"name": "user"}, "clientCertificateSecret": {"name": "own"}}},
        {"rbac": {"extraTargets": [{"group": "example.org", "resource": "engines"}], "delegate": True}},
        *(yaml.safe_load(path.read_text()) for path in EXAMPLES),
    ],
    ids=["defaults", "options", "namespaces", "credentials", "rights", *(path.stem for path in EXAMPLES)],
)
def test_the_api_server_takes_every_render(chosen: dict[str, Any], cluster: Cluster, namespace: str) -> None:
    known = [item for item in render(chosen, namespace=namespace) if item["kind"] not in FOREIGN]
    for item in known:
        # An example's namespace is not here.
        if item["metadata"].get("namespace") == "team-a":
            item["metadata"]["namespace"] = namespace
    flags = ["--server-side", "--force-conflicts", "--validate=strict", "--field-manager=chart-test"]
    said = cluster.kubectl("apply", *flags, "--dry-run=server", "-f", "-", input=yaml.safe_dump_all(known))
    assert said.count("serverside-applied (server dry run)") == len(known)


@pytest.mark.parametrize("whose", ["operator", "test"])
def test_the_pods_are_allowed_where_pods_are_restricted(whose: str, cluster: Cluster, namespace: str) -> None:
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    documents = render({"replicas": 1})
    operator = named(documents, "Deployment", "forebay")["spec"]["template"]
    template = operator if whose == "operator" else named(documents, "Pod", "forebay-test")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": namespace}}
    pod["spec"] = {**template["spec"], "serviceAccountName": "default"}
    create = ["create", "--dry-run=server", "-f", "-"]
    assert "created (server dry run)" in cluster.kubectl(*create, input=yaml.safe_dump(pod))
    loose: Any = copy.deepcopy(pod)
    del loose["spec"]["containers"][0]["securityContext"]["capabilities"]
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        cluster.kubectl(*create, input=yaml.safe_dump(loose))


def test_a_release_comes_changes_goes_and_returns_while_pools_stay(
    cluster: Cluster, namespace: str, home: Helm
) -> None:
    chosen = values()
    rest = cluster.rest()
    release = Release(rest, namespace, chosen["fullnameOverride"])
    assert "Apply an InferencePool" in home("install", "one", str(CHART), values=chosen)
    pool = release.add_pool()
    home("upgrade", "one", str(CHART), values=chosen | {"operator": {"interval": "30s"}})
    assert release.interval() == "30s"
    home("rollback", "one", "1")
    assert release.interval() == "15s"
    home("uninstall", "one")
    assert not release.is_there()
    assert rest.exists(pool)
    home("install", "one", str(CHART), values=chosen)
    assert release.interval() == "15s"
    assert rest.exists(pool)


def test_uninstalling_the_release_that_has_the_crds_keeps_them(
    cluster: Cluster, namespace: str, home: Helm
) -> None:
    rest = cluster.rest()
    uids = {item["metadata"]["uid"] for item in _ours(rest)}
    chosen = values(crds={"enabled": True}, rbac={"aggregate": False})
    # The plain install of the fixture made them.
    home("install", "crds", str(CHART), "--take-ownership", values=chosen)
    home("uninstall", "crds")
    assert {item["metadata"]["uid"] for item in _ours(rest)} == uids
    home("install", "crds", str(CHART), values=chosen)
    assert {item["metadata"]["uid"] for item in _ours(rest)} == uids


@pytest.fixture
def prometheus_operator(cluster: Cluster) -> Iterator[None]:
    """The kinds of the Prometheus Operator, from its Go module."""
    paths = [
        path
        for path in upstream_crds(PROMETHEUS_OPERATOR, "v0.85.0", "example/prometheus-operator-crd")
        if path.stem.endswith(("_servicemonitors", "_podmonitors", "_prometheusrules"))
    ]
    crds = [f"crd/{yaml.safe_load(path.read_text())['metadata']['name']}" for path in paths]
    was_there = [crd for crd in crds if crd.removeprefix("crd/") in cluster.kubectl("get", "crd", "-o", "name")]
    if not was_there:
        for path in paths:
            cluster.apply(path)
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)
    yield
    if not was_there:
        cluster.kubectl("delete", *crds, "--timeout=30s")


@pytest.mark.usefixtures("prometheus_operator")
@pytest.mark.parametrize("monitor", ["ServiceMonitor", "PodMonitor"])
def test_production_values_install_beside_the_prometheus_operator(
    monitor: str, cluster: Cluster, namespace: str, home: Helm
) -> None:
    """Protects from a monitor or a rule that the Prometheus Operator would refuse or prune."""
    production = yaml.safe_load((CHART / "examples" / "production.yaml").read_text())
    for kind in ("ServiceMonitor", "PodMonitor"):
        production[f"{kind[0].lower()}{kind[1:]}"] = {"enabled": kind == monitor}
    home("install", "one", str(CHART), values=production | values(rbac={"aggregate": False}))
    kinds = "servicemonitors,podmonitors,prometheusrules,networkpolicies,poddisruptionbudgets,configmaps"
    stored: Any = json.loads(
        cluster.kubectl("get", kinds, "-n", namespace, "-l", "app.kubernetes.io/name=forebay", "-o", "json")
    )
    by_kind = {item["kind"]: item for item in stored["items"]}
    assert set(by_kind) == {monitor, "PrometheusRule", "NetworkPolicy", "ConfigMap"}  # no budget without replicas
    given = render(production)
    for kind in (monitor, "PrometheusRule"):
        (rendered,) = (item for item in given if item["kind"] == kind)
        assert set(by_kind[kind]["spec"]) == set(rendered["spec"]), kind
    rules = by_kind["PrometheusRule"]["spec"]["groups"][0]["rules"]
    assert all(set(rule) == {"alert", "expr", "for", "labels", "annotations"} for rule in rules)
    spec = by_kind[monitor]["spec"]
    (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
    assert endpoint == {"port": "http", "interval": "15s", "scrapeTimeout": "10s", "honorLabels": True}


@pytest.fixture(params=["previous", "oldest"])
def older_chart(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The chart of the commit before this one, and of the first commit that had it."""
    if request.param == "previous":
        commit = _git("rev-parse", "--verify", "--quiet", "HEAD~1")
    else:
        shallow = _git("rev-parse", "--is-shallow-repository") != "false"
        added = _git("log", "--diff-filter=A", "--format=%H", "--", "charts/forebay/Chart.yaml")
        commit = "" if shallow else added.rpartition("\n")[2]
    if not commit:
        pytest.skip(f"there is no git history to take the {request.param} chart from")
    archive = subprocess.run(
        ["git", "archive", commit, "charts/forebay"], cwd=ROOT, capture_output=True, check=True, timeout=30
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tmp_path / "older", filter="data")
    return tmp_path / "older" / "charts" / "forebay"


def test_a_release_of_an_older_chart_is_upgraded_and_rolled_back(
    older_chart: Path, cluster: Cluster, namespace: str, home: Helm
) -> None:
    chosen = values(crds={"enabled": True}, rbac={"aggregate": False}, operator={"interval": "20s"})
    rest = cluster.rest()
    uids = {item["metadata"]["uid"] for item in _ours(rest)}
    release = Release(rest, namespace, chosen["fullnameOverride"])
    home("install", "one", str(older_chart), "--take-ownership", values=chosen)
    pool = release.add_pool()
    before: Any = rest.get(pool)
    # The cluster of the tests has the CRDs of today: what the older chart did not have belongs to no release yet.
    home("upgrade", "one", str(CHART), "--reset-then-reuse-values", "--take-ownership")
    assert release.interval() == "20s"
    for crd in _ours(rest):
        source = yaml.safe_load(
            (CHART / "files" / "crds" / f"forebay.io_{crd['spec']['names']['plural']}.yaml").read_text()
        )
        assert crd["spec"]["versions"][0]["schema"] == source["spec"]["versions"][0]["schema"]
    home("rollback", "one", "1")
    assert release.interval() == "20s"
    # The cluster of the tests has the CRDs of today: what the older chart did not have belongs to no release yet.
    home("upgrade", "one", str(CHART), "--reset-then-reuse-values", "--take-ownership")
    home("uninstall", "one")
    assert not release.is_there()
    assert {item["metadata"]["uid"] for item in _ours(rest)} == uids
    after: Any = rest.get(pool)
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])


@pytest.mark.parametrize("older_chart", ["oldest"], indirect=True)
def test_reusing_values_without_the_new_defaults_is_refused(
    older_chart: Path, cluster: Cluster, namespace: str, home: Helm
) -> None:
    home("install", "one", str(older_chart), values=values())
    result = home.attempt("upgrade", "one", str(CHART), "--reuse-values")
    assert result.returncode != 0
    assert "--reset-then-reuse-values" in result.stderr


def _git(*arguments: str) -> str:
    """Return what git says; "" where it fails or there is none."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _ours(rest: Rest) -> list[Any]:
    found: list[Any] = [item for item in rest.items(CRDS) if item["spec"]["group"] == "forebay.io"]  # type: ignore[index]
    assert len(found) == len(list((ROOT / "crds").glob("*.yaml")))
    assert not [item for item in found if "deletionTimestamp" in item["metadata"]]
    return found
