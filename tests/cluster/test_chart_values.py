"""The chart's values: each does something, and nonsense is refused in a sentence."""

import json
from typing import Any

import pytest
import yaml

from tests.cluster.chart_helm import CHART, OPTIONS, container, environment, helm, render, rendered

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
    "prometheus.proxy": "http://other:3128",
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
    "operator.fleetPolicy": "other",
    "operator.warmStandby": False,
    "prometheus.matchLabels": {"cluster": "a"},
    "lease.duration": "16s",
    "lease.renewDeadline": "9s",
    "lease.retryPeriod": "1s",
    "rbac.create": False,
    "rbac.aggregate": True,
    "rbac.delegate": True,
    "rbac.nodes": False,
    "rbac.nodeReaders": [{"namespace": "a", "name": "b"}],
    "rbac.explainers": [{"kind": "Group", "name": "on-call"}],
    "rbac.scaling.enabled": False,
    "rbac.scaling.namespaces": ["a"],
    "rbac.scaling.pods": False,
    "rbac.scaling.podGuard": False,
    "rbac.targets.deployments": False,
    "rbac.targets.statefulSets": False,
    "rbac.targets.leaderWorkerSets": False,
    "rbac.targets.disaggregatedSets": False,
    "rbac.targets.dynamoGraphs": False,
    "rbac.targets.roleBasedGroups": False,
    "rbac.extraTargets": [{"group": "example.org", "resource": "engines"}],
    "rbac.targets.argoRollouts": False,
    "rbac.nodeProviders.karpenter": False,
    "rbac.nodeProviders.karpenterStatic": True,
    "rbac.nodeProviders.clusterAutoscaler": True,
    "rbac.nodeProviders.capacityBuffers": ["a"],
    "rbac.nodeProviders.placeholders": ["a"],
    "rbac.nodeProviders.clusterAPI": ["a"],
    "rbac.extraNodeObjects": [{"group": "example.org", "resource": "nodegroups", "namespace": "a"}],
    "rbac.keda": False,
    "rbac.aibrix": False,
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
    "podMonitor.enabled": True,
    "podMonitor.labels": {"a": "b"},
    "podMonitor.interval": "30s",
    "podMonitor.scrapeTimeout": "7s",
    "prometheusRule.enabled": False,
    "prometheusRule.labels": {"a": "b"},
    "prometheusRule.disabled": ["ForebayRoundsFail"],
    "dashboard.enabled": False,
    "dashboard.labels": {"a": "b"},
    "dashboard.annotations": {"a": "b"},
}
POD_MONITOR = {"serviceMonitor": {"enabled": False}, "podMonitor": {"enabled": True}}
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
    "podMonitor.enabled": {"serviceMonitor": {"enabled": False}},
    **dict.fromkeys(("podMonitor.labels", "podMonitor.interval", "podMonitor.scrapeTimeout"), POD_MONITOR),
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


def leaves(values: Any, path: str = "") -> set[str]:
    if path in OTHER or not isinstance(values, dict) or not values:
        return {path}
    return {leaf for key, value in values.items() for leaf in leaves(value, f"{path}.{key}".lstrip("."))}


def test_every_value_has_another_to_try() -> None:
    assert leaves(yaml.safe_load((CHART / "values.yaml").read_text())) == set(OTHER)


@pytest.mark.parametrize("history", ["0", "0s", "14d", "36h"])
def test_history_may_be_nothing_or_days(history: str) -> None:
    assert environment(render({"operator": {"history": history}}))["FOREBAY_HISTORY"] == history


@pytest.mark.parametrize(
    ("requests", "limits"),
    [
        ({"cpu": 1, "memory": "1Gi"}, {"cpu": "2500m", "memory": "1.5Gi"}),
        ({"cpu": 0.5, "memory": "500M"}, {"memory": "2G", "ephemeral-storage": "2Gi"}),
        ({}, {}),
    ],
)
def test_amounts_as_people_write_them_are_taken(requests: dict[str, object], limits: dict[str, object]) -> None:
    assert container(render({"resources": {"requests": requests, "limits": limits}}))["resources"]


@pytest.mark.parametrize("path", OTHER)
def test_every_value_does_something(path: str) -> None:
    before = merged(OPTIONS, WITH.get(path, {}))
    assert rendered(merged(before, at(path, OTHER[path]))) != rendered(before)


def test_a_cluster_that_is_too_old_is_refused() -> None:
    assert rendered({}, "--kube-version", "1.29.0")
    result = helm("template", "forebay", str(CHART), "--kube-version", "1.28.9")
    assert result.returncode != 0
    assert "requires kubeVersion: >=1.29.0-0" in result.stderr


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
        (
            {"operator": {"interval": "0s"}},
            "operator.interval: 0s is out of range; write more than 0s and at most 24h",
        ),
        ({"operator": {"resync": "25h"}}, "operator.resync: 25h is out of range"),
        ({"operator": {"history": "a month"}}, 'operator.history: "a month" is no duration'),
        ({"lease": {"renewDeadline": "15s"}}, "lease: times must rise, retryPeriod < renewDeadline < duration"),
        ({"lease": {"duration": "1s500ms"}}, "they are 2s, 10s and 1s500ms"),
        ({"watchNamespaces": ["team-*"]}, "give names, not patterns"),
        (
            {"watchNamespaces": ["a"], "rbac": {"scaling": {"namespaces": ["b"]}}},
            '"b" is not watched; add it to watchNamespaces',
        ),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name: name an existing account"),
        (
            {"image": {"repository": "https://registry.example.org/forebay"}},
            "is no image; write it as in",
        ),
        (
            {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}},
            "serviceMonitor, podMonitor: enable one of them",
        ),
        ({"serviceMonitor": {"scrapeTimeout": "15s"}}, "serviceMonitor.scrapeTimeout: 15s is not less than"),
        (
            {"podMonitor": {"interval": "1500ms", "scrapeTimeout": "2s"}},
            "podMonitor.scrapeTimeout: 2s is not",
        ),
        ({"podMonitor": {"interval": "often"}}, 'podMonitor.interval: "often" is no duration'),
        (
            {"prometheusRule": {"disabled": ["RoundsFail"]}},
            'no alert "RoundsFail"; there are ForebayHasNo',
        ),
        (
            {"podLabels": {"app.kubernetes.io/name": "a"}},
            "the chart sets app.kubernetes.io/name itself",
        ),
        ({"commonLabels": {"helm.sh/chart": "a"}}, "commonLabels: the chart sets helm.sh/chart itself"),
        ({"resources": {"limits": {"memory": "512m"}}}, "resources.limits.memory: 512m is no amount of memory"),
        ({"resources": {"requests": {"memory": 512}}}, "resources.requests.memory: 512 is no amount of memory"),
        ({"resources": {"requests": {"cpu": "1Gi"}}}, "resources.requests.cpu: 1Gi is no number of CPUs"),
        ({"resources": {"requests": {"ram": "1Gi"}}}, "'ram'"),
        ({"networkPolicy": {"prometheusTo": [{}]}}, "minProperties: got 0, want 1"),
        ({"networkPolicy": {"dnsTo": [{"namespace": "a"}]}}, "'namespace'"),
        ({"extraEnv": [{"value": "a"}]}, "missing property 'name'"),
        # What --reuse-values leaves after an upgrade from a chart that did not have it.
        ({"podMonitor": None}, "upgrade with --reset-then-reuse-values"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_nonsense_is_refused_in_a_sentence(values: object, sentence: str) -> None:
    result = helm("template", "forebay", str(CHART), values=values)
    assert result.returncode != 0
    assert sentence in result.stderr
