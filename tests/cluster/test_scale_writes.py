"""Scale writes against a real API server: which are taken, which refused, and who is seen to have written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from forebay.actuation.conflicts import Way, Writer, replica_writers
from forebay.actuation.kube import KubeApi, field_manager, load_configuration
from forebay.actuation.scale import ScaleOutcome, ScaleResult, ScaleWriter
from forebay.actuation.targets import TargetDirectory, TargetRef
from forebay.flow.kinds import KINDS, WorkloadKind
from tests.cluster.stand_in_crds import crd_of, stand_in_crds

OURS = field_manager("forebay-system", "forebay")
PAGE = Path(__file__).parents[2] / "docs" / "gitops.md"
FOREIGN = [row for row in KINDS if not row.built_in]


def deployment(namespace: str, replicas: int | None = 2, name: str = "chat") -> dict[str, Any]:
    labels = {"app": name}
    count = {} if replicas is None else {"replicas": replicas}
    pod = {"containers": [{"name": "engine", "image": "vllm"}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            **count,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


async def scale(cluster: Cluster, target: TargetRef, replicas: int, *, current: int | None) -> ScaleOutcome:
    """Write a count as the operator does."""
    configuration = await load_configuration(str(cluster.kubeconfig))
    async with KubeApi(configuration, manager=OURS) as api:
        writer = ScaleWriter(api, TargetDirectory(api), lambda: 0.0)
        return await writer.scale(target, replicas, current=current)


def chat(namespace: str) -> TargetRef:
    return TargetRef(namespace, "apps/v1", "Deployment", "chat")


def seen(cluster: Cluster, namespace: str, resource: str = "deployment", name: str = "chat") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        cluster.kubectl("get", resource, name, "-n", namespace, "-o", "json", "--show-managed-fields")
    )
    return found


def count_and_writers(cluster: Cluster, namespace: str) -> tuple[int, tuple[Writer, ...]]:
    body = seen(cluster, namespace)
    return body["spec"]["replicas"], replica_writers(body["metadata"]["managedFields"])


async def test_a_count_is_written_while_it_is_the_basis_whatever_else_changed(
    cluster: Cluster, namespace: str
) -> None:
    """Protects: a status write between the look and the write refused six scale-outs of six."""
    cluster.apply(deployment(namespace, 2))
    cluster.kubectl("annotate", "deployment", "chat", "-n", namespace, "touched=yes")
    assert (await scale(cluster, chat(namespace), 3, current=2)).result is ScaleResult.WRITTEN
    assert count_and_writers(cluster, namespace) == (3, (Writer(OURS, Way.DECISION),))
    refused = await scale(cluster, chat(namespace), 5, current=2)
    assert refused.result is ScaleResult.CONFLICT
    assert count_and_writers(cluster, namespace)[0] == 3


async def test_zero_is_a_count_like_any_other(cluster: Cluster, namespace: str) -> None:
    cluster.apply(deployment(namespace, 1))
    assert (await scale(cluster, chat(namespace), 0, current=1)).result is ScaleResult.WRITTEN
    assert (await scale(cluster, chat(namespace), 4, current=1)).result is ScaleResult.CONFLICT
    assert (await scale(cluster, chat(namespace), 4, current=0)).result is ScaleResult.WRITTEN
    assert count_and_writers(cluster, namespace)[0] == 4


@pytest.fixture
def every_foreign_kind(cluster: Cluster) -> Iterator[None]:
    """CRDs with the group, version, kind and scale paths of each kind of other projects."""
    with stand_in_crds(cluster, [crd_of(row) for row in FOREIGN]):
        yield


@pytest.mark.usefixtures("every_foreign_kind")
@pytest.mark.parametrize("row", FOREIGN, ids=lambda row: row.kind)
async def test_every_kind_is_scaled_in_the_same_way(cluster: Cluster, namespace: str, row: WorkloadKind) -> None:
    target = TargetRef(namespace, row.api_version, row.kind, "chat")
    metadata = {"name": "chat", "namespace": namespace}
    body = {"apiVersion": row.api_version, "kind": row.kind, "metadata": metadata, "spec": {"other": 1}}
    cluster.apply(body)
    assert (await scale(cluster, target, 2, current=None)).result is ScaleResult.WRITTEN
    assert (await scale(cluster, target, 3, current=2)).result is ScaleResult.WRITTEN
    assert (await scale(cluster, target, 5, current=2)).result is ScaleResult.CONFLICT
    found = seen(cluster, namespace, f"{row.plural}.{row.api_group}")
    assert found["spec"] == {"other": 1, "replicas": 3}


@pytest.mark.usefixtures("every_foreign_kind")
@pytest.mark.parametrize("row", FOREIGN, ids=lambda row: row.kind)
async def test_every_kind_tells_who_wrote(cluster: Cluster, namespace: str, row: WorkloadKind) -> None:
    target = TargetRef(namespace, row.api_version, row.kind, "chat")
    metadata = {"name": "chat", "namespace": namespace}
    spec = {"replicas": 1}
    cluster.apply({"apiVersion": row.api_version, "kind": row.kind, "metadata": metadata, "spec": spec})
    await scale(cluster, target, 2, current=1)
    found = seen(cluster, namespace, f"{row.plural}.{row.api_group}")
    assert replica_writers(found["metadata"]["managedFields"])[0] == Writer(OURS, Way.DECISION)


def as_manager(cluster: Cluster, manifest: dict[str, Any], manager: str, *flags: str) -> None:
    """Apply a manifest as a GitOps tool does."""
    text = yaml.safe_dump(manifest)
    cluster.kubectl("apply", "--server-side", f"--field-manager={manager}", *flags, "-f", "-", input=text)


async def test_each_writer_is_told_by_how_it_writes(cluster: Cluster, namespace: str) -> None:
    as_manager(cluster, deployment(namespace, 2), "argocd-controller")
    assert count_and_writers(cluster, namespace)[1] == (Writer("argocd-controller", Way.MANIFEST),)
    await scale(cluster, chat(namespace), 4, current=2)
    assert count_and_writers(cluster, namespace)[1] == (Writer(OURS, Way.DECISION),)
    as_manager(cluster, deployment(namespace, 2), "argocd-controller", "--force-conflicts")
    assert count_and_writers(cluster, namespace) == (2, (Writer("argocd-controller", Way.MANIFEST),))
    cluster.kubectl("scale", "deployment/chat", "-n", namespace, "--replicas=7")
    assert count_and_writers(cluster, namespace) == (7, (Writer("kubectl", Way.DECISION),))
    cluster.kubectl("delete", "deployment", "chat", "-n", namespace)
    cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump(deployment(namespace, 1)))
    assert count_and_writers(cluster, namespace)[1] == (Writer("kubectl-client-side-apply", Way.MANIFEST),)


def snippets() -> list[str]:
    """Return the page's YAML blocks, in order."""
    return [part.partition("```")[0] for part in PAGE.read_text().split("```yaml\n")[1:]]


async def test_a_manifest_without_a_count_keeps_ours(cluster: Cluster, namespace: str) -> None:
    """The page's first snippet, applied again and again by a GitOps tool."""
    manifest = yaml.safe_load(snippets()[0])
    manifest["metadata"]["namespace"] = namespace
    as_manager(cluster, manifest, "argocd-controller")
    await scale(cluster, chat(namespace), 6, current=1)
    manifest["spec"]["template"]["metadata"]["annotations"] = {"release": "2"}
    as_manager(cluster, manifest, "argocd-controller")
    # Kubernetes notes no writer of a count that no manifest ever had.
    assert count_and_writers(cluster, namespace) == (6, ())


async def test_a_count_that_is_dropped_from_a_manifest_stays_where_we_own_it(
    cluster: Cluster, namespace: str
) -> None:
    as_manager(cluster, deployment(namespace, 2), "argocd-controller")
    await scale(cluster, chat(namespace), 6, current=2)
    as_manager(cluster, deployment(namespace, None), "argocd-controller")
    assert count_and_writers(cluster, namespace)[0] == 6


def test_the_page_for_flux_removes_the_count(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    (flux,) = [yaml.safe_load(text) for text in snippets() if "kustomize.toolkit.fluxcd.io" in text]
    (tmp_path / "chat.yaml").write_text(yaml.safe_dump(deployment(namespace, 2)))
    kustomization = {"resources": ["chat.yaml"], "patches": flux["spec"]["patches"]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    rendered = yaml.safe_load(cluster.kubectl("kustomize", str(tmp_path)))
    assert "replicas" not in rendered["spec"]
    cluster.apply(rendered)
    assert count_and_writers(cluster, namespace)[0] == 1


def test_the_page_for_argo_cd_is_an_application_of_theirs() -> None:
    (argo,) = [yaml.safe_load(text) for text in snippets() if "kind: Application" in text]
    (ignored,) = argo["spec"]["ignoreDifferences"]
    assert ignored == {"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}
    assert "RespectIgnoreDifferences=true" in argo["spec"]["syncPolicy"]["syncOptions"]
