"""What each variant of the chart grants: a table of everything, nothing more, and the API server agrees.

The tables follow what the operator watches (`forebay.runtime.watch.kinds`) and what it writes.
`test_chart_rights_used` compares the defaults with what a running operator really asks for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from devcluster import Cluster, KubectlError
from forebay.flow.kinds import KINDS
from forebay.runtime.watch.kinds import ALL_KINDS
from tests.cluster.chart_helm import CHART, Documents, Helm, helm_for, render, rights

Grant = tuple[str, str, str]
OTHER_KINDS = {row.chart_value: (row.api_group, row.plural) for row in KINDS if not row.built_in}
WATCHED_GRANTS: set[Grant] = {
    (kind.group, kind.value, verb)
    for kind in ALL_KINDS
    if not kind.cluster_scoped and not kind.optional
    for verb in ("list", "watch")
}
NODE_GRANTS: set[Grant] = {
    (kind.group, kind.value, verb) for kind in ALL_KINDS if kind.cluster_scoped for verb in ("list", "watch")
}
NODE_GRANTS |= {("", "namespaces", "list")}
KEDA: set[Grant] = {("keda.sh", "scaledobjects", "list")}
AIBRIX: set[Grant] = {("autoscaling.aibrix.ai", "podautoscalers", "list")}
CONFLICTS = KEDA | AIBRIX
REFERENCES: set[Grant] = {("inference.networking.k8s.io", "inferencepools", "get")}
OTHER_READS: set[Grant] = {
    (group, resource, verb) for group, resource in OTHER_KINDS.values() for verb in ("list", "watch")
}
REPORTS: set[Grant] = {("forebay.io", "inferencepools/status", "patch"), ("", "events", "create")}
HEARS: set[Grant] = {
    ("karpenter.sh", "nodepools", "list"),
    ("karpenter.sh", "nodeclaims", "list"),
    ("", "events", "list"),
}
NODE_REPORTS: set[Grant] = {("forebay.io", "gpunodepools/status", "patch")}
STATIC: set[Grant] = {("karpenter.sh", "nodepools/scale", verb) for verb in ("get", "patch")}
BUFFERS: set[Grant] = {
    (group, resource, verb)
    for group, resource in (("autoscaling.x-k8s.io", "capacitybuffers"), ("", "podtemplates"))
    for verb in ("get", "create", "patch")
}
PLACEHOLDERS: set[Grant] = {("apps", "deployments", verb) for verb in ("get", "create", "patch")}
MACHINES: set[Grant] = {
    *(("cluster.x-k8s.io", plural, "get") for plural in ("machinedeployments", "machinepools")),
    *(
        ("cluster.x-k8s.io", f"{plural}/scale", verb)
        for plural in ("machinedeployments", "machinepools")
        for verb in ("get", "patch")
    ),
    ("cluster.x-k8s.io", "machines", "list"),
    ("cluster.x-k8s.io", "machines", "patch"),
}
MARKS: set[Grant] = {("", "pods", "patch")}
SCALES: set[Grant] = {(row.api_group, f"{row.plural}/scale", "patch") for row in KINDS} | MARKS
LEASE: set[tuple[str, str, str, str]] = {
    ("coordination.k8s.io", "leases", "", "create"),
    ("coordination.k8s.io", "leases", "forebay", "get"),
    ("coordination.k8s.io", "leases", "forebay", "update"),
}
READS = WATCHED_GRANTS | CONFLICTS | REFERENCES | OTHER_READS
NOT_THE_OPERATORS = ("view", "edit", "delegate")


def bound(documents: Documents) -> dict[str, set[Grant]]:
    """Return what the operator's account may do, by place: "" for the whole cluster. Without its Lease."""
    account = ("ServiceAccount", "forebay", "forebay-system")
    of_roles: dict[tuple[str, str], set[tuple[str, str, str, str]]] = {}
    for role, place, group, resource, name, verb in rights(documents):
        of_roles.setdefault((role, place), set()).add((group, resource, name, verb))
    found: dict[str, set[tuple[str, str, str, str]]] = {}
    for binding in documents:
        if binding["kind"] not in {"RoleBinding", "ClusterRoleBinding"}:
            continue
        if account not in [(item["kind"], item["name"], item["namespace"]) for item in binding["subjects"]]:
            continue
        place = binding["metadata"].get("namespace", "")
        of_role = place if binding["roleRef"]["kind"] == "Role" else ""
        found.setdefault(place, set()).update(of_roles[binding["roleRef"]["name"], of_role])
    lease = found.get("forebay-system", set()) & LEASE
    assert lease == LEASE
    found["forebay-system"] -= LEASE
    assert not [grant for place in found.values() for grant in place if grant[2]]
    return {
        place: {(group, resource, verb) for group, resource, _, verb in all_}
        for place, all_ in found.items()
        if all_
    }


VARIANTS: dict[str, tuple[dict[str, Any], dict[str, set[Grant]]]] = {
    "defaults": ({}, {"": READS | HEARS | NODE_GRANTS | REPORTS | NODE_REPORTS | SCALES}),
    "node providers": (
        {
            "rbac": {
                "nodeProviders": {
                    "karpenter": False,
                    "karpenterStatic": True,
                    "capacityBuffers": ["warm"],
                    "placeholders": ["warm", "idle"],
                    "clusterAPI": ["fleet"],
                },
                "extraNodeObjects": [
                    {"group": "eks.services.k8s.aws", "resource": "nodegroups", "namespace": "fleet"}
                ],
            }
        },
        {
            "": READS | NODE_GRANTS | REPORTS | NODE_REPORTS | SCALES | STATIC,
            "warm": BUFFERS | PLACEHOLDERS,
            "idle": PLACEHOLDERS,
            "fleet": MACHINES
            | {("eks.services.k8s.aws", "nodegroups", "get"), ("eks.services.k8s.aws", "nodegroups", "patch")},
        },
    ),
    "recommend only": (
        {"rbac": {"scaling": {"enabled": False}}},
        {"": READS | HEARS | NODE_GRANTS | REPORTS | NODE_REPORTS},
    ),
    "scaling in two namespaces": (
        {"rbac": {"scaling": {"namespaces": ["a", "b"]}}},
        {"": READS | HEARS | NODE_GRANTS | REPORTS | NODE_REPORTS, "a": SCALES, "b": SCALES},
    ),
    "two namespaces": (
        {"watchNamespaces": ["a", "b"]},
        {"": NODE_GRANTS, "a": READS | REPORTS | SCALES, "b": READS | REPORTS | SCALES},
    ),
    "two namespaces, scaling in one, no nodes": (
        {"watchNamespaces": ["a", "b"], "rbac": {"nodes": False, "scaling": {"namespaces": ["b"]}}},
        {"a": READS | REPORTS, "b": READS | REPORTS | SCALES},
    ),
    "the least": (
        {
            "watchNamespaces": ["a"],
            "rbac": {
                "nodes": False,
                "keda": False,
                "aibrix": False,
                "gatewayPools": False,
                "scaling": {"enabled": False},
                "targets": dict.fromkeys(OTHER_KINDS, False),
            },
        },
        {"a": WATCHED_GRANTS | REPORTS},
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_grants_its_table(variant: str) -> None:
    values, table = VARIANTS[variant]
    assert bound(render(values)) == table


@pytest.mark.parametrize(
    ("value", "gone"),
    [
        ("deployments", {("apps", "deployments/scale", "patch")}),
        ("statefulSets", {("apps", "statefulsets/scale", "patch")}),
        *(
            (
                name,
                {
                    (group, resource, "list"),
                    (group, resource, "watch"),
                    (group, f"{resource}/scale", "patch"),
                },
            )
            for name, (group, resource) in OTHER_KINDS.items()
        ),
    ],
)
def test_each_kind_of_target_has_its_own_switch(value: str, gone: set[Grant]) -> None:
    assert bound(render())[""] - bound(render({"rbac": {"targets": {value: False}}}))[""] == gone


@pytest.mark.parametrize(
    "values", [{"scaling": {"pods": False}}, {"targets": {"deployments": False, "argoRollouts": False}}]
)
def test_pods_are_patched_only_where_that_chooses_who_goes(values: dict[str, Any]) -> None:
    documents = render({"rbac": values})
    assert not MARKS & bound(documents)[""]
    assert "ValidatingAdmissionPolicy" not in {item["kind"] for item in documents}


def test_cluster_autoscaler_s_status_is_one_config_map() -> None:
    grants = rights(render({"rbac": {"nodeProviders": {"clusterAutoscaler": True}}}))
    (found,) = [grant for grant in grants if "configmaps" in grant]
    assert found[1:] == ("kube-system", "", "configmaps", "cluster-autoscaler-status", "get")


@pytest.mark.parametrize(("value", "gone"), [("keda", KEDA), ("aibrix", AIBRIX), ("gatewayPools", REFERENCES)])
def test_each_neighbour_has_its_own_switch(value: str, gone: set[Grant]) -> None:
    assert bound(render())[""] - bound(render({"rbac": {value: False}}))[""] == gone


def test_any_other_kind_with_a_scale_can_be_added() -> None:
    added = {"rbac": {"extraTargets": [{"group": "example.org", "resource": "engines"}]}}
    assert bound(render(added))[""] - bound(render())[""] == {
        ("example.org", "engines", "get"),
        ("example.org", "engines/scale", "get"),
        ("example.org", "engines/scale", "patch"),
    }


def test_no_rule_has_a_wildcard_and_no_secret_is_read() -> None:
    for documents in (render(values) for values, _ in VARIANTS.values()):
        for _, _, group, resource, _, verb in rights(documents):
            assert "*" not in {group, resource, verb}
            assert (group, resource.partition("/")[0]) not in {("", "secrets"), ("", "configmaps")}


def test_a_release_of_the_shared_parts_binds_only_readers_of_nodes() -> None:
    reader = {"namespace": "team-a", "name": "forebay"}
    documents = render({"operator": {"enabled": False}, "rbac": {"delegate": True, "nodeReaders": [reader]}})
    bindings = [item for item in documents if item["kind"].endswith("Binding")]
    assert [item["metadata"]["name"] for item in bindings] == ["forebay-nodes"]
    assert bindings[0]["subjects"] == [{"kind": "ServiceAccount", **reader}]


def test_the_delegated_rights_are_those_of_a_namespaced_release() -> None:
    shared = rights(render({"operator": {"enabled": False}, "rbac": {"delegate": True}}))
    delegated = {
        (group, resource, verb) for role, _, group, resource, _, verb in shared if role == "forebay-delegate"
    }
    assert delegated == bound(render({"watchNamespaces": ["a"]}))["a"]


@pytest.fixture
def released(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Helm]:
    helm = helm_for(cluster, tmp_path, namespace)
    yield helm
    helm.forget_all()


class Question(NamedTuple):
    """What a service account may be asked for, and whether it may."""

    may: bool
    verb: str
    group: str
    resource: str
    subresource: str = ""
    where: str = "here"
    name: str = ""


YES, NO = True, False
ASKED: dict[str, list[Question]] = {
    "everywhere": [
        Question(YES, "patch", "apps", "deployments", "scale"),
        Question(YES, "patch", "apps", "deployments", "scale", where="kube-system"),
        Question(NO, "patch", "apps", "deployments"),
        Question(YES, "list", "", "nodes", where=""),
        Question(YES, "patch", "forebay.io", "gpunodepools", "status", where=""),
        Question(NO, "get", "", "secrets"),
        Question(YES, "update", "coordination.k8s.io", "leases", name="its own"),
        Question(NO, "update", "coordination.k8s.io", "leases", name="another"),
        Question(NO, "create", "", "pods"),
        Question(NO, "delete", "forebay.io", "inferencepools"),
    ],
    "here": [
        Question(YES, "patch", "apps", "deployments", "scale"),
        Question(NO, "patch", "apps", "deployments", "scale", where="kube-system"),
        Question(YES, "list", "", "pods"),
        Question(NO, "list", "", "pods", where="kube-system"),
        Question(NO, "list", "", "pods", where=""),
        Question(YES, "patch", "forebay.io", "inferencepools", "status"),
        Question(NO, "patch", "forebay.io", "inferencepools", "status", where="kube-system"),
        Question(YES, "list", "", "nodes", where=""),
        Question(NO, "patch", "forebay.io", "gpunodepools", "status", where=""),
    ],
    "nothing to scale": [
        Question(NO, "patch", "apps", "deployments", "scale"),
        Question(YES, "list", "apps", "deployments"),
        Question(YES, "create", "", "events"),
    ],
}


def may(cluster: Cluster, user: str, question: Question, here: str, own_name: str) -> bool:
    """Return the API server's answer, as `kubectl auth can-i --as` would."""
    attributes = {
        "verb": question.verb,
        "group": question.group,
        "resource": question.resource,
        "subresource": question.subresource,
        "namespace": here if question.where == "here" else question.where,
        "name": own_name if question.name == "its own" else question.name,
    }
    groups = ["system:serviceaccounts", "system:authenticated"]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
    }
    answer: Any = cluster.rest().create("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize("variant", ASKED)
def test_the_api_server_grants_and_refuses(variant: str, cluster: Cluster, namespace: str, released: Helm) -> None:
    more: dict[str, dict[str, Any]] = {
        "everywhere": {},
        "here": {"watchNamespaces": [namespace]},
        "nothing to scale": {"rbac": {"scaling": {"enabled": False}, "aggregate": False}},
    }
    name = f"fb-{namespace}"
    common = {"replicas": 0, "fullnameOverride": name, "crds": {"enabled": False}}
    released("install", "one", str(CHART), values=common | more[variant])
    user = f"system:serviceaccount:{namespace}:{name}"
    answers = {question: may(cluster, user, question, namespace, name) for question in ASKED[variant]}
    assert [question for question, answer in answers.items() if answer != question.may] == []


def test_explainers_may_port_forward_in_the_releases_namespace_and_nowhere_else(
    cluster: Cluster, namespace: str, released: Helm
) -> None:
    account = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    common = {"replicas": 0, "fullnameOverride": "forebay", "crds": {"enabled": False}}
    released("install", "one", str(CHART), values=common | {"rbac": {"explainers": [account]}})
    kubeconfig = cluster.kubeconfig_for(namespace, "default")

    def refusal(where: str) -> str:
        with pytest.raises(KubectlError) as caught:
            cluster.kubectl("port-forward", "-n", where, "pod/none", "8080", kubeconfig=kubeconfig)
        return str(caught.value)

    cluster.kubectl("get", "pods", "-n", namespace, kubeconfig=kubeconfig)
    assert "not found" in refusal(namespace) or "forbidden" in refusal(namespace)
    assert "forbidden" in refusal("kube-system")


def test_an_example_of_a_single_namespace_needs_nothing_of_the_cluster() -> None:
    example = yaml.safe_load((CHART / "examples" / "one-namespace.yaml").read_text())
    assert not [item for item in render(example, namespace="team-a") if item["kind"].startswith("Cluster")]
