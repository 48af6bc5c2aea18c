"""What cluster tests share: one cluster for the session, and a namespace of its own for each test.

Every test in this directory is marked `cluster`. The cluster is whatever `devcluster.select` finds; binaries that
have to be built are built before the first test, outside any test's time limit.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client.exceptions import ApiException

import devcluster
from devcluster.binaries import Binaries
from devcluster.cli import build_for_tests
from devcluster.waiting import eventually
from runoperator.install import install

HERE = Path(__file__).parent
GROUP = "forebay.io"
#: A test that is still running is not slow but stuck. Waits inside tests are long as well: what passes waits no
#: longer for it, and a busy machine must not turn a right answer into a failure.
_HANGS_SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(_HANGS_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing now: a first build takes minutes, and a test's time limit does not allow for it."""
    if session.config.option.collectonly or not any(HERE in item.path.parents for item in session.items):
        return
    capture = session.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        build_for_tests(Binaries.from_environment())


@pytest.fixture(scope="session")
def cluster() -> Iterator[devcluster.Cluster]:
    """A running cluster with our CRDs and the plain install's namespace, service account and RBAC."""
    with devcluster.open() as cluster:
        install(cluster)
        yield cluster


@pytest.fixture
def namespace(cluster: devcluster.Cluster) -> Iterator[str]:
    """A fresh namespace; afterwards its custom resources go first, then the namespace."""
    rest = cluster.rest()
    name = f"test-{secrets.token_hex(4)}"
    rest.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    eventually(
        lambda: rest.exists(f"/api/v1/namespaces/{name}/serviceaccounts/default"),
        timeout_seconds=120,
        describe="the namespace's default service account",
    )
    yield name
    kinds = cluster.kubectl("api-resources", f"--api-group={GROUP}", "--namespaced", "-o", "name").split()
    for kind in kinds:
        cluster.kubectl("delete", kind, "--all", "-n", name, "--wait=false")
    try:
        rest.delete(f"/api/v1/namespaces/{name}", propagationPolicy="Background")
    except ApiException as error:
        if error.status != 404:
            raise
