"""What the chart renders, and that it is what the plain install is.

Snapshots show what an example changes: each is the difference between its render and that of the defaults.
`FOREBAY_UPDATE_SNAPSHOTS=1` writes them.
"""

import copy
import difflib
import os
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from devcluster import Cluster
from forebay.cli.main import cli
from tests.cluster.chart_helm import (
    CHART,
    EXAMPLES,
    OPTIONS,
    ROOT,
    Documents,
    container,
    environment,
    helm,
    kinds,
    named,
    render,
    rights,
)

SNAPSHOTS = Path(__file__).parent / "chart_snapshots"
POD_MONITOR: dict[str, Any] = {"serviceMonitor": {"enabled": False}, "podMonitor": {"enabled": True}}
CONDITIONAL = {"NetworkPolicy", "ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}


def plain() -> Documents:
    paths = sorted((ROOT / "manifests" / "install").rglob("*.yaml"))
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def as_lines(documents: Documents) -> list[str]:
    """Return documents as text that does not depend on how Helm writes: sorted, without CRDs and labels."""
    shown = sorted(
        (copy.deepcopy(item) for item in documents if item["kind"] != "CustomResourceDefinition"),
        key=lambda item: (item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]),
    )
    for item in shown:
        item["metadata"].pop("labels")
        if item["kind"] == "ConfigMap":
            item["data"] = dict.fromkeys(item["data"], "generated; its expressions are tested on their own")
    return yaml.safe_dump_all(shown, width=115, default_flow_style=None).splitlines(keepends=True)


def compare(name: str, text: str) -> None:
    path = SNAPSHOTS / name
    if os.environ.get("FOREBAY_UPDATE_SNAPSHOTS"):
        path.write_text(text)
    said = "a deliberate change? FOREBAY_UPDATE_SNAPSHOTS=1 makes the test write the snapshot anew"
    assert text == path.read_text(), said


def test_lint_finds_nothing() -> None:
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout


def test_the_defaults_render_as_recorded() -> None:
    compare("defaults.yaml", "".join(as_lines(render())))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_changes_what_is_recorded(example: Path) -> None:
    changed = as_lines(render(None, "-f", str(example)))
    lines = difflib.unified_diff(as_lines(render()), changed, "defaults", example.stem, n=2)
    compare(f"{example.stem}.diff", "".join(lines))


def test_no_snapshot_is_left_over() -> None:
    assert {path.name for path in SNAPSHOTS.iterdir()} == {"defaults.yaml"} | {f"{p.stem}.diff" for p in EXAMPLES}


def test_the_rights_are_those_of_the_plain_install() -> None:
    def without_places(documents: Documents) -> set[tuple[str, ...]]:
        return {(role, *right) for role, _, *right in rights(documents)}

    assert without_places(render()) == without_places(plain())


def test_the_pod_is_that_of_the_plain_install() -> None:
    chart, install = container(render()), container(plain())
    assert {name: chart[name] for name in install if name not in {"env", "image"}} == {
        name: value for name, value in install.items() if name not in {"env", "image"}
    }
    assert [entry for entry in install["env"] if entry not in chart["env"]] == []


def test_the_environment_adds_nothing_but_defaults() -> None:
    run = cli.get_command(click.Context(cli), "run")
    assert run is not None
    known = {parameter.envvar: parameter for parameter in run.params}
    same = {entry["name"] for entry in container(plain())["env"]}
    for entry in container(render())["env"]:
        parameter = known[entry["name"]]
        if entry["name"] not in same:
            value = parameter.type_cast_value(click.Context(run), entry["value"])
            assert value == parameter.get_default(click.Context(run)), entry["name"]


def test_the_environment_that_values_add_is_known() -> None:
    run = cli.get_command(click.Context(cli), "run")
    assert run is not None
    known = {str(parameter.envvar) for parameter in run.params}
    prometheus = {
        "basicAuthSecret": {"name": "a"},
        "clientCertificateSecret": {"name": "a"},
        "ca": {"secretName": "a"},
        **dict.fromkeys(("namespaceLabel", "podLabel", "workloadLabel"), "other"),
    }
    given = environment(render({"watchNamespaces": ["a"], "prometheus": prometheus}))
    assert len(given) > 20
    assert set(given) <= known
    assert set(environment(render({"prometheus": {"tokenSecret": {"name": "a"}}}))) <= known


def test_every_object_has_the_recommended_labels() -> None:
    wanted = {
        f"app.kubernetes.io/{name}"
        for name in ("name", "instance", "component", "part-of", "version", "managed-by")
    }
    for document in render({**OPTIONS, "crds": {"enabled": False}, "commonLabels": {"team": "a"}}):
        labels = document["metadata"]["labels"]
        assert set(labels) >= wanted | {"helm.sh/chart", "team"}, document["metadata"]["name"]


def test_options_are_off_unless_asked_for() -> None:
    assert not kinds(render()) & CONDITIONAL
    assert kinds(render(OPTIONS)) >= CONDITIONAL - {"PodMonitor"}
    assert "PodMonitor" in kinds(render(POD_MONITOR))


@pytest.mark.parametrize("keep", [True, False])
def test_crds_stay_unless_said_otherwise(keep: bool) -> None:
    crds = [item for item in render({"crds": {"keep": keep}}) if item["kind"] == "CustomResourceDefinition"]
    assert len(crds) == len(list((ROOT / "crds").glob("*.yaml")))
    for crd in crds:
        source = yaml.safe_load((ROOT / "crds" / f"forebay.io_{crd['spec']['names']['plural']}.yaml").read_text())
        assert crd["spec"] == source["spec"]
        policy = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)


def test_one_replica_has_no_disruption_budget() -> None:
    assert "PodDisruptionBudget" in kinds(render())
    assert "PodDisruptionBudget" not in kinds(render({"replicas": 1}))


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_an_upgrade_waits_for_every_new_pod(replicas: int) -> None:
    """Protects `helm --wait`: it takes a Deployment for ready that lacks as many pods as may be unavailable."""
    strategy = named(render({"replicas": replicas}), "Deployment", "forebay")["spec"]["strategy"]
    assert strategy == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_the_pod_of_helm_test_is_no_operator_and_starts_where_operators_do() -> None:
    documents = render(
        {
            "replicas": 2,
            "image": {"digest": f"sha256:{64 * 'a'}"},
            "imagePullSecrets": ["registry"],
            "nodeSelector": {"a": "b"},
            "tolerations": [{"operator": "Exists"}],
            "podLabels": {"c": "d"},
        }
    )
    test = named(documents, "Pod", "forebay-test")
    operator = named(documents, "Deployment", "forebay")["spec"]["template"]["spec"]
    for same in ("imagePullSecrets", "nodeSelector", "tolerations", "securityContext"):
        assert test["spec"][same] == operator[same], same
    for same in ("image", "imagePullPolicy", "securityContext"):
        assert test["spec"]["containers"][0][same] == operator["containers"][0][same], same
    for kind in ("Service", "PodDisruptionBudget"):
        spec = named(documents, kind, "forebay")["spec"]["selector"]
        selector = spec.get("matchLabels", spec)
        assert not selector.items() <= test["metadata"]["labels"].items(), kind


def test_the_network_policy_lets_helm_test_in() -> None:
    chosen = {"networkPolicy": {"enabled": True, "ingressFrom": [{"podSelector": {"matchLabels": {"a": "b"}}}]}}
    documents = render(chosen)
    (rule,) = named(documents, "NetworkPolicy", "forebay")["spec"]["ingress"]
    of_test, of_user = (peer["podSelector"]["matchLabels"] for peer in rule["from"])
    assert of_user == {"a": "b"}
    assert of_test.items() <= named(documents, "Pod", "forebay-test")["metadata"]["labels"].items()


def test_credentials_come_from_secrets() -> None:
    header = {"name": "X-Scope-OrgID", "secret": {"name": "tenant", "key": "id"}}
    prometheus = {
        "basicAuthSecret": {"name": "user"},
        "clientCertificateSecret": {"name": "own"},
        "ca": {"configMapName": "company"},
        "headers": [header],
    }
    documents = render({"prometheus": prometheus})
    where = "/etc/forebay/prometheus"
    assert container(documents)["args"] == ["run", "--prometheus-header=X-Scope-OrgID=$(PROMETHEUS_HEADER_0)"]
    assert {"name": "FOREBAY_PROMETHEUS_KEY_FILE", "value": f"{where}/tls.key"} in container(documents)["env"]
    volumes = named(documents, "Deployment", "forebay")["spec"]["template"]["spec"]["volumes"]
    (volume,) = (volume for volume in volumes if volume["name"] == "prometheus")
    paths = {
        item["path"]: source[kind]["name"]
        for source in volume["projected"]["sources"]
        for kind in source
        for item in source[kind]["items"]
    }
    assert paths == {"password": "user", "tls.crt": "own", "tls.key": "own", "ca.crt": "company"}
    mounts = {mount["name"]: mount["mountPath"] for mount in container(documents)["volumeMounts"]}
    assert mounts["prometheus"] == where


@pytest.mark.parametrize("monitor", ["serviceMonitor", "podMonitor"])
def test_a_monitor_replaces_the_annotations(monitor: str) -> None:
    def annotations(values: dict[str, Any]) -> object:
        return named(render(values), "Deployment", "forebay")["spec"]["template"]["metadata"].get("annotations")

    assert annotations({}) == {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}
    assert annotations({monitor: {"enabled": True}}) is None


def test_alerts_look_at_their_release_alone_where_they_can() -> None:
    def expressions(values: dict[str, Any]) -> list[str]:
        rule = next(item for item in render(values) if item["kind"] == "PrometheusRule")
        return [alert["expr"] for alert in rule["spec"]["groups"][0]["rules"]]

    assert not [
        expression for expression in expressions({"prometheusRule": {"enabled": True}}) if "job" in expression
    ]
    for monitor, job in (({}, "mine"), (POD_MONITOR, "forebay-system/mine")):
        mine = expressions({**OPTIONS, **monitor, "fullnameOverride": "mine"})
        assert all(expression.count(f'{{job="{job}",') == expression.count("forebay_") for expression in mine)


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("http://prometheus:9090", [9090]),
        ("https://prometheus.example.org/select/0", [9090, 443]),
        ("http://prometheus", [9090, 80]),
        ("http://[fd00::1]:8481/prometheus", [9090, 8481]),
    ],
)
def test_the_network_policy_lets_queries_out(url: str, ports: list[int]) -> None:
    documents = render({"networkPolicy": {"enabled": True}, "prometheus": {"url": url}})
    rules = named(documents, "NetworkPolicy", "forebay")["spec"]["egress"]
    assert [port["port"] for port in rules[2]["ports"]] == ports


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "watches all namespaces"),
        ({"watchNamespaces": ["a", "b"]}, "watches a, b"),
        ({"rbac": {"scaling": {"enabled": False}}}, "may not scale anything"),
        ({"rbac": {"create": False}}, "has no rights by this release"),
        ({"operator": {"enabled": False}}, "No operator runs by this release"),
        ({"crds": {"enabled": False}}, "keep them up to date yourself"),
    ],
)
def test_the_notes_tell_the_next_step(values: object, sentence: str, cluster: Cluster) -> None:
    # The cluster's plain install has the same names.
    flags = ["--dry-run=client", "--take-ownership", "--kubeconfig", str(cluster.kubeconfig)]
    result = helm("install", "forebay", str(CHART), "-n", "forebay-system", *flags, values=values)
    assert result.returncode == 0, result.stderr
    notes = result.stdout.rpartition("NOTES:")[2]
    assert sentence in " ".join(notes.split())
    assert max(map(len, notes.splitlines())) <= 120
