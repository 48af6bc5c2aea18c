"""What the chart renders: each value does something, and nonsense is refused in a sentence.

Snapshots show what an example changes: each is the difference between its render and that of the defaults.
`FOREBAY_UPDATE_SNAPSHOTS=1` writes them.
"""

import copy
import difflib
import json
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
    ROOT,
    Documents,
    container,
    environment,
    helm,
    kinds,
    named,
    render,
    rendered,
    rights,
)

SNAPSHOTS = Path(__file__).parent / "chart_snapshots"
CONDITIONAL = {"NetworkPolicy", "ServiceMonitor", "PrometheusRule", "ConfigMap"}
OPTIONS: dict[str, Any] = {
    name: {"enabled": True} for name in ("networkPolicy", "serviceMonitor", "prometheusRule", "dashboard")
}
DIGEST = f"sha256:{64 * '0'}"
#: Another value for each, by its path; with what it takes to see it, where that is more than the options.
OTHER: dict[str, object] = {
    "nameOverride": "other",
    "fullnameOverride": "other",
    "commonLabels": {"team": "a"},
    "watchNamespaces": ["a"],
    "replicas": 3,
    "image.repository": "other",
    "image.tag": "1.2.3",
    "image.digest": DIGEST,
    "image.pullPolicy": "Always",
    "imagePullSecrets": ["other"],
    "crds.enabled": False,
    "crds.keep": False,
    "prometheus.url": "https://other",
    "prometheus.urlSecret.name": "other",
    "prometheus.urlSecret.key": "other",
    "prometheus.timeout": "7s",
    "prometheus.settle": "7s",
    "prometheus.tokenSecret.name": "other",
    "prometheus.tokenSecret.key": "other",
    "prometheus.basicAuthSecret.name": "other",
    "prometheus.basicAuthSecret.usernameKey": "other",
    "prometheus.basicAuthSecret.passwordKey": "other",
    "prometheus.clientCertificateSecret.name": "other",
    "prometheus.clientCertificateSecret.certificateKey": "other",
    "prometheus.clientCertificateSecret.privateKeyKey": "other",
    "prometheus.namespaceLabel": "other",
    "prometheus.podLabel": "other",
    "prometheus.workloadLabel": "other",
    "prometheus.ca.secretName": "other",
    "prometheus.ca.configMapName": "other",
    "prometheus.ca.key": "other",
    "prometheus.headers": [{"name": "X-Other", "value": "a"}],
    "operator.enabled": False,
    "operator.interval": "7s",
    "operator.poolSelector": "a=b",
    "operator.podSelector": "a=b",
    "operator.conflictWindow": "7s",
    "operator.provisionDeadline": "7s",
    "operator.resync": "7s",
    "operator.statusDrift": "7s",
    "operator.history": "0",
    "operator.logFormat": "console",
    "operator.logLevel": "debug",
    "lease.duration": "16s",
    "lease.renewDeadline": "9s",
    "lease.retryPeriod": "1s",
    "rbac.create": False,
    "rbac.aggregate": False,
    "rbac.delegate": True,
    "rbac.nodes": False,
    "rbac.nodeReaders": [{"namespace": "a", "name": "b"}],
    "rbac.explainers": [{"kind": "Group", "name": "on-call"}],
    "rbac.scaling.enabled": False,
    "rbac.scaling.namespaces": ["a"],
    "rbac.targets.deployments": False,
    "rbac.targets.statefulSets": False,
    "rbac.targets.leaderWorkerSets": False,
    "rbac.targets.disaggregatedSets": False,
    "rbac.targets.dynamoGraphs": False,
    "rbac.targets.roleBasedGroups": False,
    "rbac.extraTargets": [{"group": "example.org", "resource": "engines"}],
    "rbac.keda": False,
    "rbac.gatewayPools": False,
    "serviceAccount.create": False,
    "serviceAccount.name": "other",
    "serviceAccount.annotations": {"a": "b"},
    "service.annotations": {"a": "b"},
    "state.sizeLimit": "2Gi",
    "resources": {"limits": {"memory": "2Gi"}},
    "priorityClassName": "other",
    "nodeSelector": {"a": "b"},
    "tolerations": [{"operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 1}],
    "podLabels": {"a": "b"},
    "podAnnotations": {"a": "b"},
    "scrapeAnnotations": False,
    "podSecurityContext": {"runAsUser": 1},
    "revisionHistoryLimit": 1,
    "extraArgs": ["--log-level=debug"],
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraVolumes": [{"name": "a", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "a", "mountPath": "/a"}],
    "podDisruptionBudget.enabled": False,
    "networkPolicy.enabled": False,
    "networkPolicy.ingressFrom": [{"podSelector": {}}],
    "networkPolicy.dnsTo": [{"podSelector": {}}],
    "networkPolicy.apiServerTo": [{"podSelector": {}}],
    "networkPolicy.apiServerPorts": [1],
    "networkPolicy.prometheusTo": [{"podSelector": {}}],
    "networkPolicy.prometheusPorts": [1],
    "serviceMonitor.enabled": False,
    "serviceMonitor.labels": {"a": "b"},
    "serviceMonitor.interval": "30s",
    "serviceMonitor.scrapeTimeout": "7s",
    "prometheusRule.enabled": False,
    "prometheusRule.labels": {"a": "b"},
    "prometheusRule.disabled": ["ForebayRoundsFail"],
    "dashboard.enabled": False,
    "dashboard.labels": {"a": "b"},
    "dashboard.annotations": {"a": "b"},
}
WITH: dict[str, dict[str, Any]] = {
    "prometheus.urlSecret.key": {"prometheus": {"urlSecret": {"name": "a"}}},
    "prometheus.tokenSecret.key": {"prometheus": {"tokenSecret": {"name": "a"}}},
    "prometheus.basicAuthSecret.usernameKey": {"prometheus": {"basicAuthSecret": {"name": "a"}}},
    "prometheus.basicAuthSecret.passwordKey": {"prometheus": {"basicAuthSecret": {"name": "a"}}},
    "prometheus.clientCertificateSecret.certificateKey": {
        "prometheus": {"clientCertificateSecret": {"name": "a"}}
    },
    "prometheus.clientCertificateSecret.privateKeyKey": {"prometheus": {"clientCertificateSecret": {"name": "a"}}},
    "prometheus.ca.key": {"prometheus": {"ca": {"secretName": "a"}}},
    "rbac.nodes": {"watchNamespaces": ["a"]},
    "serviceAccount.create": {"serviceAccount": {"name": "a"}},
    "scrapeAnnotations": {"serviceMonitor": {"enabled": False}},
}


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return two nested mappings as one, as Helm would."""
    both = {**first, **second}
    for key in first.keys() & second.keys():
        if isinstance(first[key], dict) and isinstance(second[key], dict):
            both[key] = merged(first[key], second[key])
    return both


def at(path: str, value: object) -> dict[str, Any]:
    """Return nested values with one at a dotted path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def plain() -> Documents:
    paths = sorted((ROOT / "manifests" / "install").rglob("*.yaml"))
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def leaves(values: Any, path: str = "") -> set[str]:
    if path in OTHER or not isinstance(values, dict) or not values:
        return {path}
    return {leaf for key, value in values.items() for leaf in leaves(value, f"{path}.{key}".lstrip("."))}


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


def test_a_cluster_that_is_too_old_is_refused() -> None:
    assert rendered({}, "--kube-version", "1.29.0")
    result = helm("template", "forebay", str(CHART), "--kube-version", "1.28.9")
    assert result.returncode != 0
    assert "requires kubeVersion: >=1.29.0-0" in result.stderr


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


def test_every_value_has_another_to_try() -> None:
    assert leaves(yaml.safe_load((CHART / "values.yaml").read_text())) == set(OTHER)


@pytest.mark.parametrize("path", OTHER)
def test_every_value_does_something(path: str) -> None:
    before = merged(OPTIONS, WITH.get(path, {}))
    assert rendered(merged(before, at(path, OTHER[path]))) != rendered(before)


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
    assert kinds(render(OPTIONS)) >= CONDITIONAL


@pytest.mark.parametrize("keep", [True, False])
def test_crds_stay_unless_said_otherwise(keep: bool) -> None:
    crds = [item for item in render({"crds": {"keep": keep}}) if item["kind"] == "CustomResourceDefinition"]
    assert len(crds) == 4
    for crd in crds:
        source = yaml.safe_load((ROOT / "crds" / f"forebay.io_{crd['spec']['names']['plural']}.yaml").read_text())
        assert crd["spec"] == source["spec"]
        policy = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)


def test_one_replica_has_no_disruption_budget() -> None:
    assert "PodDisruptionBudget" in kinds(render())
    assert "PodDisruptionBudget" not in kinds(render({"replicas": 1}))


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


def test_a_service_monitor_replaces_the_annotations() -> None:
    def annotations(values: dict[str, Any]) -> object:
        return named(render(values), "Deployment", "forebay")["spec"]["template"]["metadata"].get("annotations")

    assert annotations({}) == {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"}
    assert annotations({"serviceMonitor": {"enabled": True}}) is None


def test_alerts_look_at_their_release_alone_where_they_can() -> None:
    def expressions(values: dict[str, Any]) -> list[str]:
        rule = next(item for item in render(values) if item["kind"] == "PrometheusRule")
        return [alert["expr"] for alert in rule["spec"]["groups"][0]["rules"]]

    assert not [
        expression for expression in expressions({"prometheusRule": {"enabled": True}}) if "job" in expression
    ]
    mine = expressions({**OPTIONS, "fullnameOverride": "mine"})
    assert all(expression.count('{job="mine",') == expression.count("forebay_") for expression in mine)


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
        ({"replicaCount": 2}, "additional properties 'replicaCount' not allowed"),
        ({"replicas": "two"}, "at '/replicas': got string, want integer"),
        ({"replicas": -1}, "at '/replicas': minimum: got -1, want 0"),
        ({"operator": {"logLevel": "loud"}}, "value must be one of 'debug', 'info', 'warning', 'error'"),
        ({"rbac": {"targets": {"daemonSets": True}}}, "additional properties 'daemonSets' not allowed"),
        ({"image": {"digest": "abc"}}, 'image.digest: "abc" is no digest; write sha256: and 64'),
        ({"image": {"repository": "a/b:1"}}, "write those into image.tag or image.digest"),
        ({"prometheus": {"url": "prometheus:9090"}}, "prometheus.url: write http(s)://host[:port][/path]"),
        ({"prometheus": {"url": "http://me:secret@prometheus"}}, "credentials go into a Secret"),
        ({"prometheus": {"url": ""}}, "prometheus.url: give the address"),
        ({"prometheus": {"headers": [{"name": "A"}]}}, "header A needs either a value or a secret"),
        ({"prometheus": {"ca": {"secretName": "a", "configMapName": "b"}}}, "set secretName or configMapName"),
        (
            {"prometheus": {"tokenSecret": {"name": "a"}, "basicAuthSecret": {"name": "b"}}},
            "set tokenSecret or basicAuthSecret, not both",
        ),
        ({"operator": {"interval": "15"}}, 'operator.interval: "15" is no duration; write it with a unit'),
        ({"operator": {"interval": "0"}}, "operator.interval"),
        ({"lease": {"renewDeadline": "15s"}}, "lease: times must rise, retryPeriod < renewDeadline < duration"),
        ({"lease": {"duration": "1s500ms"}}, "they are 2s, 10s and 1s500ms"),
        ({"watchNamespaces": ["team-*"]}, "give names, not patterns"),
        (
            {"watchNamespaces": ["a"], "rbac": {"scaling": {"namespaces": ["b"]}}},
            '"b" is not watched; add it to watchNamespaces',
        ),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name: name an existing account"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_nonsense_is_refused_in_a_sentence(values: object, sentence: str) -> None:
    result = helm("template", "forebay", str(CHART), values=values)
    assert result.returncode != 0
    assert sentence in result.stderr


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
