"""The plain install: least privilege, restricted pods, and settings that `forebay run` knows."""

from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from forebay.api.v1alpha1.inferencepool import GATEWAY_POOL_API
from forebay.cli.main import cli
from forebay.runtime.watch.kinds import ALL_KINDS

INSTALL = Path(__file__).parents[3] / "manifests" / "install"
DOCUMENTS: list[dict[str, Any]] = [
    document for path in sorted(INSTALL.rglob("*.yaml")) for document in yaml.safe_load_all(path.read_text())
]


def named(kind: str, name: str) -> dict[str, Any]:
    return next(item for item in DOCUMENTS if item["kind"] == kind and item["metadata"]["name"] == name)


def granted(*roles: str) -> set[tuple[str, str, str]]:
    """Return group, resource and verb of everything that these ClusterRoles allow."""
    return {
        (group, resource, verb)
        for role in roles
        for rule in named("ClusterRole", role)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_no_rule_has_a_wildcard() -> None:
    for document in DOCUMENTS:
        for rule in document.get("rules", ()):
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], document["metadata"][
                "name"
            ]


def test_whatever_is_watched_may_be_listed_and_watched() -> None:
    rights = granted("forebay-read")
    for kind in ALL_KINDS:
        assert {(kind.group, kind.value, "list"), (kind.group, kind.value, "watch")} <= rights


def test_reading_and_reporting_change_nothing_but_status_and_events() -> None:
    writes = {
        right for right in granted("forebay-read", "forebay-report") if right[2] not in {"get", "list", "watch"}
    }
    assert writes == {
        ("forebay.io", "inferencepools/status", "patch"),
        ("forebay.io", "gpunodepools/status", "patch"),
        ("", "events", "create"),
    }


def test_the_right_to_scale_is_scale_and_marks_of_pods() -> None:
    others = {right for right in granted("forebay-scale") if not right[1].endswith("/scale")}
    assert others == {("", "pods", "patch")}
    assert {verb for _, _, verb in granted("forebay-scale")} == {"patch"}


def test_recommend_only_leaves_the_right_to_scale_out() -> None:
    kustomization = yaml.safe_load((INSTALL.parent / "recommend-only" / "kustomization.yaml").read_text())
    dropped = [yaml.safe_load(patch["patch"]) for patch in kustomization["patches"]]
    assert {(item["kind"], item["metadata"]["name"], item["$patch"]) for item in dropped} == {
        ("ClusterRole", "forebay-scale", "delete"),
        ("ClusterRoleBinding", "forebay-scale", "delete"),
    }


def test_the_pod_meets_the_restricted_standard() -> None:
    pod = named("Deployment", "forebay")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_environment_of_the_pod_is_what_run_reads() -> None:
    (container,) = named("Deployment", "forebay")["spec"]["template"]["spec"]["containers"]
    run = cli.get_command(click.Context(cli), "run")
    assert run is not None
    known = {parameter.envvar for parameter in run.params}
    assert {entry["name"] for entry in container["env"]} <= known


def test_the_install_of_one_namespace_sets_what_run_reads() -> None:
    kustomization = yaml.safe_load((INSTALL.parent / "namespaced" / "kustomization.yaml").read_text())
    patch = next(item for item in kustomization["patches"] if item["target"]["kind"] == "Deployment")
    (added,) = yaml.safe_load(patch["patch"])
    run = cli.get_command(click.Context(cli), "run")
    assert run is not None
    assert added["value"]["name"] in {parameter.envvar for parameter in run.params}


@pytest.mark.parametrize("name", ["forebay-read", "forebay-report", "forebay-scale"])
def test_every_role_is_bound_to_the_service_account(name: str) -> None:
    binding = named("ClusterRoleBinding", name)
    assert binding["roleRef"]["name"] == name
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "forebay", "namespace": "forebay-system"}]


def test_of_the_gateway_s_pools_one_may_be_read_by_name() -> None:
    group = GATEWAY_POOL_API.partition("/")[0]
    assert {right for right in granted("forebay-read") if right[0] == group} == {(group, "inferencepools", "get")}
