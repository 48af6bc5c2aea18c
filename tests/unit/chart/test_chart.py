"""The chart: what it grants, what it refuses, and that it agrees with the plain install."""

from typing import Any

import click
import pytest
import yaml

import chartdocs
from forebay.cli.main import cli
from tests.unit.chart.rendering import CHART, ROOT, helm, kinds, named, render

CONDITIONAL = {"NetworkPolicy", "ServiceMonitor", "PrometheusRule", "ConfigMap"}


def container(documents: list[dict[str, Any]]) -> Any:
    return named(documents, "Deployment", "forebay")["spec"]["template"]["spec"]["containers"][0]


def rights(documents: list[dict[str, Any]]) -> set[tuple[str, str, str, str]]:
    return {
        (f"{role['kind']}/{role['metadata']['name']}", group, resource, verb)
        for role in documents
        if role["kind"] in {"ClusterRole", "Role"}
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def plain() -> list[dict[str, Any]]:
    paths = sorted((ROOT / "manifests" / "install").rglob("*.yaml"))
    return [document for path in paths for document in yaml.safe_load_all(path.read_text())]


def test_generated_files_are_current() -> None:
    assert chartdocs.main(["--check"]) == 0


def test_every_value_is_documented() -> None:
    described = chartdocs.documented((CHART / "values.yaml").read_text())

    def undocumented(values: Any, path: str) -> list[str]:
        if path in described:
            return []
        if not isinstance(values, dict):
            return [path]
        return [bad for key, value in values.items() for bad in undocumented(value, f"{path}.{key}".lstrip("."))]

    assert undocumented(yaml.safe_load((CHART / "values.yaml").read_text()), "") == []


def test_lint_finds_nothing() -> None:
    result = helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout


def test_rights_are_those_of_the_plain_install() -> None:
    assert rights(render()) == rights(plain())


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


def test_options_are_off_unless_asked_for() -> None:
    assert not kinds(render()) & CONDITIONAL
    on = {name: {"enabled": True} for name in ("networkPolicy", "serviceMonitor", "prometheusRule", "dashboard")}
    assert kinds(render(on)) >= CONDITIONAL


@pytest.mark.parametrize("keep", [True, False])
def test_crds_stay_unless_said_otherwise(keep: bool) -> None:
    crds = [item for item in render({"crds": {"keep": keep}}) if item["kind"] == "CustomResourceDefinition"]
    assert len(crds) == 4
    for crd in crds:
        source = yaml.safe_load((ROOT / "crds" / f"forebay.io_{crd['spec']['names']['plural']}.yaml").read_text())
        assert crd["spec"] == source["spec"]
        policy = crd["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
        assert policy == ("keep" if keep else None)


def test_without_scaling_nothing_may_be_scaled() -> None:
    assert not [
        right for right in rights(render({"rbac": {"scaling": {"enabled": False}}})) if "scale" in right[0]
    ]


def test_scaling_in_named_namespaces_only() -> None:
    documents = render({"rbac": {"scaling": {"namespaces": ["a", "b"]}}})
    scaling = [item for item in documents if item["metadata"]["name"] == "forebay-scale"]
    where = {item["metadata"].get("namespace") for item in scaling if item["kind"] == "RoleBinding"}
    assert where == {"a", "b"}
    assert "ClusterRoleBinding" not in kinds(scaling)


@pytest.mark.parametrize(
    ("value", "resource"),
    [
        ("deployments", "deployments/scale"),
        ("statefulSets", "statefulsets/scale"),
        ("leaderWorkerSets", "leaderworkersets/scale"),
        ("dynamoGraphs", "dynamographdeploymentscalingadapters/scale"),
    ],
)
def test_each_target_kind_has_its_own_switch(value: str, resource: str) -> None:
    def scaled(documents: list[dict[str, Any]]) -> set[str]:
        return {right[2] for right in rights(documents)}

    assert scaled(render()) - scaled(render({"rbac": {"targets": {value: False}}})) >= {resource}


def test_one_replica_has_no_disruption_budget() -> None:
    assert "PodDisruptionBudget" in kinds(render())
    assert "PodDisruptionBudget" not in kinds(render({"replicas": 1}))


def test_credentials_come_from_secrets() -> None:
    header = {"name": "X-Scope-OrgID", "secret": {"name": "tenant", "key": "id"}}
    prometheus = {"tokenSecret": {"name": "token"}, "ca": {"secretName": "ca"}, "headers": [header]}
    documents = render({"prometheus": prometheus})
    assert container(documents)["args"] == ["run", "--prometheus-header=X-Scope-OrgID=$(PROMETHEUS_HEADER_0)"]
    names = {mount["name"] for mount in container(documents)["volumeMounts"]}
    assert names >= {"prometheus-token", "prometheus-ca"}


@pytest.mark.parametrize(
    ("values", "named_in_the_answer"),
    [
        ({"replicaCount": 2}, "replicaCount"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": -1}, "replicas"),
        ({"image": {"digest": "abc"}}, "digest"),
        ({"prometheus": {"url": "prometheus:9090"}}, "url"),
        ({"prometheus": {"url": ""}}, "prometheus.url"),
        ({"prometheus": {"headers": [{"name": "A"}]}}, "headers"),
        ({"prometheus": {"ca": {"secretName": "a", "configMapName": "b"}}}, "prometheus.ca"),
        ({"operator": {"interval": "15"}}, "interval"),
        ({"operator": {"logLevel": "loud"}}, "logLevel"),
        ({"rbac": {"targets": {"daemonSets": True}}}, "daemonSets"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
    ],
)
def test_nonsense_is_refused_by_name(values: object, named_in_the_answer: str) -> None:
    result = helm("template", "forebay", str(CHART), values=values)
    assert result.returncode != 0
    assert named_in_the_answer in result.stderr
